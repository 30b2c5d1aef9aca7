"""What the user types: search, train, finetune, report, status, compare, export."""
