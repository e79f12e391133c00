from django.urls import path

from search import api

urlpatterns = [
    path("images/", api.Images.as_view(), name="images"),
    path("images/<uuid:uid>/similar/", api.Similar.as_view(), name="image-similar"),
    path("search/", api.Search.as_view(), name="search"),
    path("search/facets/", api.Facets.as_view(), name="search-facets"),
    path("collections/<uuid:uid>/index/", api.IndexDetail.as_view(), name="index"),
    path("collections/<uuid:uid>/reindex/", api.Reindex.as_view(), name="reindex"),
    path("jobs/<uuid:uid>/cancel/", api.JobCancel.as_view(), name="job-cancel"),
]
