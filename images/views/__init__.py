"""Pages about pictures, collections, teams, review. Thin: rights in images.access, changes in the domain modules."""
