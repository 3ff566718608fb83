"""Large images and layers, seen tile by tile."""
