"""Fine-tuning of norm layers: their scales and shifts and a linear head, for many episodes at once."""
