"""The command line: one file a group of verbs, each thin. Names and exit codes are a contract with scripts."""
