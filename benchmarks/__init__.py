"""How fast the engine is, beside the limits of the machine, the floor of an asyncio program, and other durable engines."""
