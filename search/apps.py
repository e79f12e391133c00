from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SearchConfig(AppConfig):
    name = "search"
    verbose_name = _("Search")

    def ready(self) -> None:
        from images import searchable
        from search import embedding, meaning, metrics, receivers, transfer

        receivers.connect()
        meaning.connect()
        transfer.connect()
        metrics.register()
        searchable.tell(embedding.searchable_ids)
