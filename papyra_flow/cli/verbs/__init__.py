"""The verbs of the command line, one file a group of them.

`develop` needs no server of yours, `deploy` brings a pipeline onto one, `look` changes nothing, `act` changes what is
on the server. A verb imports what it needs when it is called, so that `--help` comes at once.
"""
