"""How an error body is described in the schema (see `images.problems`, which writes it)."""

from rest_framework import serializers


class PointedErrorSerializer(serializers.Serializer):
    pointer = serializers.CharField(allow_blank=True, help_text="JSON pointer (RFC 6901) to the field.")
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    request_id = serializers.CharField()
    errors = PointedErrorSerializer(many=True, required=False)  # type: ignore[assignment]
