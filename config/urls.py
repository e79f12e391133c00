from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from config import health

admin.site.site_header = "Loupe"
admin.site.site_title = "Loupe"
admin.site.index_title = ""
# People sign in to the admin through the same door, with its throttling and second factor.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("api/", include("config.api")),
    path("livez", health.live),
    path("readyz", health.ready),
    path("", include("django_prometheus.urls")),
    path("", include("images.urls")),
    path("", include("search.urls")),
]
