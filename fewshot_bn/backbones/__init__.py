"""Backbones: frozen pretrained networks that give features, by the name of a card or of a library."""
