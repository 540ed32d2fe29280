"""All that speaks Redis: keys, connections, groups, reading, the commit, claiming, retention, the embedded server.

Nothing in here knows what a pipeline is: streams, groups, consumers and entries are all it deals with.
"""
