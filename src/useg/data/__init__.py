"""Files of images and masks -> annotated images -> samples -> batches."""
