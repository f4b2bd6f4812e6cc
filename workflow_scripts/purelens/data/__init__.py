"""Images, vocabularies and the split of the images, as users hand them in and as stages read them."""
