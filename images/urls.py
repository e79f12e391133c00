from django.urls import path, re_path

from images import urls_team
from images.views import bulk, collections, files, pictures, review, story, styleguide, teams

app_name = "images"
urlpatterns = [
    path("upload/", collections.upload, name="upload"),
    path("collections/", collections.index, name="collections"),
    path("collections/new/", collections.create, name="collection-new"),
    path("collections/<uuid:uid>/", collections.page, name="collection"),
    path("collections/<uuid:uid>/settings/", collections.configure, name="collection-settings"),
    path("collections/<uuid:uid>/trash/", collections.trash, name="trash"),
    path("images/bulk/", bulk.change, name="bulk"),
    path("images/bulk/move/", bulk.targets, name="bulk-move"),
    path("images/bulk/download/", bulk.download, name="bulk-download"),
    path("images/<uuid:uid>/", pictures.page, name="image"),
    path("images/<uuid:uid>/history/", story.history, name="image-history"),
    path("images/<uuid:uid>/edit/", pictures.edit, name="image-edit"),
    path("images/<uuid:uid>/trash/", pictures.trash, name="image-trash"),
    path("images/<uuid:uid>/restore/", pictures.restore, name="image-restore"),
    path("images/<uuid:uid>/decide/", review.decide, name="decide"),
    path("images/<uuid:uid>/original/", files.original, name="original"),
    re_path(
        r"^images/(?P<uid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/(?P<kind>thumbnail|preview)/$",
        files.rendition,
        name="rendition",
    ),
    path("files/<str:token>", files.signed, name="file"),
    path("review/", review.queue, name="moderation"),
    path("review/many/", review.batch, name="review-batch"),
    path("teams/", teams.index, name="teams"),
    path("teams/new/", teams.new, name="team-new"),
    path("teams/<uuid:uid>/", teams.page, name="team"),
    path("teams/<uuid:uid>/members/", teams.add_member, name="member-add"),
    path("teams/<uuid:uid>/members/<uuid:user_uid>/", teams.change_member, name="member"),
    path("teams/<uuid:uid>/members/<uuid:user_uid>/remove/", teams.remove_member, name="member-remove"),
    path("teams/<uuid:uid>/keys/", teams.api_keys, name="keys"),
    path("keys/<uuid:uid>/revoke/", teams.revoke_key, name="key-revoke"),
    path("keys/<uuid:uid>/rotate/", teams.rotate_key, name="key-rotate"),
    path("jobs/", teams.jobs, name="jobs"),
    path("styleguide/", styleguide.page, name="styleguide"),
    *urls_team.urlpatterns,
]
