"""What is computed over the records of a group: each function's state, how values change it, and what it says at last.

Each result is the same for any order of arrival (but for records of equal times), any batch size, and however partial
states were merged.
"""
