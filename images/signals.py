"""What the images app tells whoever listens (it knows nobody to its left)."""

from django.dispatch import Signal

# Images wait for processing. Arguments: bulk.
images_changed = Signal()

# One image became ready; sent inside the finishing transaction. Arguments: image.
image_ready = Signal()

# One image changed its collection; sent inside the transaction. Arguments: image, source (the old collection's id).
image_moved = Signal()

# One image was refused for good; sent inside the transaction. Arguments: image, reason.
image_failed = Signal()

# One image went to the trash, or (for_good) out of it; sent inside the transaction. Arguments: image, for_good.
image_deleted = Signal()

# A moderator decided on one image; sent inside the transaction. Arguments: image, decision, reason.
image_decided = Signal()

# Another generation answers for a collection; sent inside the transaction. Arguments: collection, generation (its
# number), count (of vectors).
index_swapped = Signal()

# Webhook deliveries wait.
deliveries_changed = Signal()

# Imports or exports wait.
transfers_changed = Signal()
