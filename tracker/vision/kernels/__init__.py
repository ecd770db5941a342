"""From stored bytes to the network's input in one pass: gathered, padded, cropped, flipped and normalized."""
