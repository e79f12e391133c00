from django.urls import include, path

from images import api_collections, api_images, api_jobs, api_moderation, api_teams, api_uploads

urlpatterns = [
    path("teams/", api_teams.Teams.as_view(), name="teams"),
    path("teams/<uuid:uid>/", api_teams.TeamDetail.as_view(), name="team"),
    path("teams/<uuid:uid>/members/", api_teams.Members.as_view(), name="members"),
    path("teams/<uuid:uid>/members/<uuid:member>/", api_teams.MemberDetail.as_view(), name="member"),
    path("teams/<uuid:uid>/keys/", api_teams.Keys.as_view(), name="keys"),
    path("teams/<uuid:uid>/keys/<uuid:key>/", api_teams.KeyDetail.as_view(), name="key"),
    path("teams/<uuid:uid>/keys/<uuid:key>/rotate/", api_teams.KeyRotation.as_view(), name="key-rotate"),
    path("collections/", api_collections.Collections.as_view(), name="collections"),
    path("collections/<uuid:uid>/", api_collections.CollectionDetail.as_view(), name="collection"),
    path("collections/<uuid:uid>/images/", api_images.Uploads.as_view(), name="uploads"),
    path("collections/<uuid:uid>/images/check/", api_images.UploadCheck.as_view(), name="upload-check"),
    path("collections/<uuid:uid>/uploads/", api_uploads.DirectUploads.as_view(), name="direct-uploads"),
    path("uploads/<uuid:uid>/", api_uploads.DirectUploadDetail.as_view(), name="direct-upload"),
    path(
        "uploads/<uuid:uid>/complete/", api_uploads.DirectUploadCompletion.as_view(), name="direct-complete"
    ),
    path("images/<uuid:uid>/", api_images.ImageDetail.as_view(), name="image"),
    path("images/<uuid:uid>/restore/", api_images.ImageRestore.as_view(), name="image-restore"),
    path("images/<uuid:uid>/file/", api_images.ImageFile.as_view(), name="image-file"),
    path("images/<uuid:uid>/thumbnail/", api_images.ImageThumbnail.as_view(), name="image-thumbnail"),
    path("images/<uuid:uid>/moderation/", api_moderation.Decision.as_view(), name="image-moderation"),
    path("moderation/", api_moderation.ModerationQueue.as_view(), name="moderation"),
    path("jobs/", api_jobs.Jobs.as_view(), name="jobs"),
    path("jobs/<uuid:uid>/", api_jobs.JobDetail.as_view(), name="job"),
    path("", include("images.api_transfer")),
    path("", include("images.api_urls_team")),
]
