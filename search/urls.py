from django.urls import path

from search import saved_views, shared, views

app_name = "search"
urlpatterns = [
    path("", views.home, name="home"),
    path("images/<uuid:uid>/similar/", views.similar, name="similar"),
    path("uploads/states/", views.states, name="states"),
    path("collections/<uuid:uid>/index/", views.index_page, name="index"),
    path("collections/<uuid:uid>/reindex/", views.reindex, name="reindex"),
    path("jobs/<uuid:uid>/cancel/", views.cancel, name="job-cancel"),
    path("saved/", saved_views.index, name="saved"),
    path("saved/new/", saved_views.create, name="saved-new"),
    path("saved/news/", saved_views.news, name="saved-news"),
    path("saved/<uuid:uid>/", saved_views.page, name="saved-open"),
    path("saved/<uuid:uid>/rename/", saved_views.rename, name="saved-rename"),
    path("saved/<uuid:uid>/delete/", saved_views.delete, name="saved-delete"),
    path("search/code/", saved_views.code, name="code"),
    path("s/<str:token>/", shared.page, name="shared"),
]
