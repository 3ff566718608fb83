"""What a U-Net is: sizes, network, losses, the model file. Knows nothing of files of images or of data sets."""
