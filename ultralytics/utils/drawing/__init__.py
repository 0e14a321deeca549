"""Drawing: annotated images, curves, feature maps, and the fonts for them."""
