"""Tools for authors' tests: run a process in virtual time with scripted people, crash it at every step, and test a store."""

from pointsman.testing.clock import ManualClock
from pointsman.testing.everywhere import CrashReport, crash_everywhere
from pointsman.testing.script import Script
from pointsman.testing.world import Later, World, after

__all__ = ["CrashReport", "Later", "ManualClock", "Script", "World", "after", "crash_everywhere"]
