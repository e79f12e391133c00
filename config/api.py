"""The HTTP API's addresses: every app brings its own, versioned together."""

from csp.constants import UNSAFE_INLINE
from csp.decorators import csp_update
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from images.problems import not_found

# Swagger UI styles its elements one by one; this page alone may, and its files come from this server.
docs = csp_update({"style-src": UNSAFE_INLINE})(
    SpectacularSwaggerSplitView.as_view(
        url_name="schema", authentication_classes=[], throttle_classes=[], permission_classes=[]
    )
)

urlpatterns = [
    path("v1/", include(("images.api_urls", "api-images"))),
    path("v1/", include(("search.api_urls", "api-search"))),
    path("schema/", SpectacularAPIView.as_view(permission_classes=[], throttle_classes=[]), name="schema"),
    path("docs/", docs, name="api-docs"),
    re_path(r"^", csrf_exempt(not_found), name="api-not-found"),
]
