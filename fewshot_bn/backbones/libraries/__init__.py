"""Where networks come from by name: torchvision, timm, code of the user's own."""
