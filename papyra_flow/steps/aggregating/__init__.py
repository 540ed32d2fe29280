"""What the step `aggregate` is made of: columns of a batch, groups and their state, and one file a kind of window."""
