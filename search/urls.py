from django.urls import path

from search import shared, views

app_name = "search"
urlpatterns = [
    path("", views.home, name="home"),
    path("images/<uuid:uid>/similar/", views.similar, name="similar"),
    path("uploads/states/", views.states, name="states"),
    path("collections/<uuid:uid>/index/", views.index_page, name="index"),
    path("collections/<uuid:uid>/reindex/", views.reindex, name="reindex"),
    path("jobs/<uuid:uid>/cancel/", views.cancel, name="job-cancel"),
    path("s/<str:token>/", shared.page, name="shared"),
]
