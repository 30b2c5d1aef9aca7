"""What is kept stands in for what goes: statistics, compensation in closed form, polish."""
