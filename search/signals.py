"""What the search app tells whoever listens."""

from django.dispatch import Signal

# kind="embed": embeddings wait; kind="index": a build is wanted. Arguments: kind, bulk.
vectors_changed = Signal()
