"""Calling what users wrote: functions, coroutines, generators, threads, forks."""
