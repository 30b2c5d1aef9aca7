"""What the user types: search, train, finetune, compare."""
