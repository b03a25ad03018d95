"""Format counts for people."""


def format_count(number: int, noun: str) -> str:
    """Format a number with its noun, such as "1 case" or "2,000 cases". The plural of `noun` must end in a plain s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
