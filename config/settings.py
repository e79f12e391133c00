"""All settings, read from the environment; without any, Loupe runs by itself on one machine with no services.

Every variable is described in docs/configuration.md (a test compares the two).
"""

from pathlib import Path
from urllib.parse import urljoin

import environ
from csp.constants import NONCE, NONE, SELF  # noqa: F401  (NONCE: for deployments that extend the policy)

from config import logs

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# ── Where things are ────────────────────────────────────────────────────────────────────────────────────────────

DATA_DIR = Path(env.str("LOUPE_DATA", default=str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = env.bool("DEBUG", default=True)
DEFAULT_SECRET_KEY = "insecure-default-for-development-only"  # noqa: S105  (refused by a check when DEBUG is off)
SECRET_KEY = env.str("SECRET_KEY", default=DEFAULT_SECRET_KEY)
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]", "testserver"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
HTTPS = env.bool("HTTPS", default=False)

# ── Applications ────────────────────────────────────────────────────────────────────────────────────────────────

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "django_filters",
    "django_htmx",
    "django_prometheus",
    "csp",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
    "images",
    "search",
    "workers",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "config.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "config.middleware.PrincipalMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.product",
            ]
        },
    }
]

# ── Database: SQLite beside the data, or DATABASE_URL ───────────────────────────────────────────────────────────

_database = env.str("DATABASE_URL", default="") or f"sqlite:///{DATA_DIR}/loupe.sqlite3"
DATABASES = {"default": env.db_url_config(_database)}
SQLITE = DATABASES["default"]["ENGINE"].endswith("sqlite3")
if SQLITE:
    # Readers never block the writer (WAL), and a writer takes its lock at the start instead of failing half-way.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=134217728;",
    }
    # Tests use threads and processes: a file behaves like the real thing, SQLite's shared memory does not.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)

# ── Redis: cache and doorbell, or this process and a folder ─────────────────────────────────────────────────────

REDIS_URL = env.str("REDIS_URL", default="")
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "loupe",
            "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 2},
        }
    }
    CELERY_BROKER_URL = REDIS_URL
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": 3600,
        "socket_connect_timeout": 1,
        "socket_timeout": 5,
        "max_retries": 0,  # a bell that cannot ring is left to the sweep at once: nobody waits for the broker
        "global_keyprefix": "loupe:",
    }
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 5000},
        }
    }
    BROKER_DIR = DATA_DIR / "broker"
    for name in ("queue", "control"):
        (BROKER_DIR / name).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_URL = "filesystem://localhost"
    CELERY_BROKER_TRANSPORT = "workers.folder_broker:Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(BROKER_DIR / "queue"),
        "data_folder_out": str(BROKER_DIR / "queue"),
        "control_folder": str(BROKER_DIR / "control"),
        "polling_interval": 0.1,
    }

# A message only says "there is work of this kind"; rows carry the work, so nothing is lost with a message.
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TIMEZONE = "UTC"

# ── Files: a folder, or S3-compatible storage ───────────────────────────────────────────────────────────────────

MEDIA_ROOT = DATA_DIR / "media"
INDEX_CACHE = DATA_DIR / "index-cache"
# Share of the approximate searches that a worker asks again exactly, to know the recall of live queries.
INDEX_LIVE_RECALL = env.float("LOUPE_LIVE_RECALL", default=0.0)
S3_ENDPOINT_URL = env.str("S3_ENDPOINT_URL", default="")
S3_PUBLIC_ENDPOINT_URL = env.str("S3_PUBLIC_ENDPOINT_URL", default="")
S3_BUCKET = env.str("S3_BUCKET", default="")
S3_ACCESS_KEY = env.str("S3_ACCESS_KEY", default="")
S3_SECRET_KEY = env.str("S3_SECRET_KEY", default="")
S3_REGION = env.str("S3_REGION", default="us-east-1")

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = DEBUG

_files: dict = {
    "BACKEND": "django.core.files.storage.FileSystemStorage",
    "OPTIONS": {"location": str(MEDIA_ROOT)},
}
if S3_BUCKET:
    _files = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "endpoint_url": S3_ENDPOINT_URL or None,
            "access_key": S3_ACCESS_KEY or None,
            "secret_key": S3_SECRET_KEY or None,
            "region_name": S3_REGION,
            "addressing_style": "path",
            "signature_version": "s3v4",
            "default_acl": None,
            "querystring_auth": True,
            "file_overwrite": True,
        },
    }
STORAGES = {
    "default": _files,
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if not DEBUG
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

MAX_UPLOAD_BYTES = env.int("LOUPE_MAX_UPLOAD_BYTES", default=50 * 1024**2)
MAX_PIXELS = env.int("LOUPE_MAX_PIXELS", default=89_478_485)
ALLOW_TIFF = env.bool("LOUPE_ALLOW_TIFF", default=False)
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024**2
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024**2
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 20
FILE_UPLOAD_TEMP_DIR = None

# ── The model ───────────────────────────────────────────────────────────────────────────────────────────────────

LOUPE_MODEL = env.str("LOUPE_MODEL", default="")
LOUPE_DTYPE = env.str("LOUPE_DTYPE", default="auto")
LOUPE_DEVICE = env.str("LOUPE_DEVICE", default="auto")
LOUPE_BATCH_SIZE = env.int("LOUPE_BATCH_SIZE", default=16)
LOUPE_TORCH_THREADS = env.int("LOUPE_TORCH_THREADS", default=1)
LOUPE_RERANKER = env.str("LOUPE_RERANKER", default="")
DECODE_PROCESSES = env.int("LOUPE_DECODE_PROCESSES", default=2)

# ── People ──────────────────────────────────────────────────────────────────────────────────────────────────────

AUTH_USER_MODEL = "images.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "images.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = env.str("LOUPE_EMAIL_VERIFICATION", default="optional")
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
ACCOUNT_SESSION_REMEMBER = True
SIGNUP_OPEN = env.bool("LOUPE_SIGNUP", default=False)
WEBHOOK_ALLOW_PRIVATE = env.bool("LOUPE_WEBHOOK_ALLOW_PRIVATE", default=False)
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Loupe"
MFA_TOTP_TOLERANCE = 1  # a phone whose clock is half a minute off
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG  # browsers allow it for localhost alone
# Where addresses are never verified nobody could have a second factor otherwise.
MFA_ALLOW_UNVERIFIED_EMAIL = ACCOUNT_EMAIL_VERIFICATION != "mandatory"

# Single sign-on: an OpenID Connect provider beside email and password.
OIDC_ISSUER = env.str("LOUPE_OIDC_ISSUER", default="").rstrip("/")
OIDC_NAME = env.str("LOUPE_OIDC_NAME", default="Single sign-on")
if OIDC_ISSUER:
    INSTALLED_APPS += ["allauth.socialaccount", "allauth.socialaccount.providers.openid_connect"]
    SOCIALACCOUNT_ADAPTER = "images.single_sign_on.SocialAdapter"
    # The operator chose the one provider: whose address it has verified, it speaks for.
    SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
    SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
    SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "OAUTH_PKCE_ENABLED": True,
            "APPS": [
                {
                    "provider_id": "sso",
                    "name": OIDC_NAME,
                    "client_id": env.str("LOUPE_OIDC_CLIENT_ID"),
                    "secret": env.str("LOUPE_OIDC_SECRET"),
                    "settings": {"server_url": OIDC_ISSUER},
                }
            ],
        }
    }

EMAIL_CONFIG = env.email("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="loupe@localhost")

# ── The browser's guard rails ───────────────────────────────────────────────────────────────────────────────────

# Browsers read pictures from object storage and send uploads to it.
_amazon = ["https://s3.amazonaws.com", f"https://s3.{S3_REGION}.amazonaws.com"]
_storage_hosts = [url for url in (S3_PUBLIC_ENDPOINT_URL, S3_ENDPOINT_URL) if url] or _amazon
_picture_hosts = _storage_hosts if S3_BUCKET else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "font-src": [SELF],
        "img-src": [SELF, "data:", "blob:", *_picture_hosts],
        "connect-src": [SELF, *_picture_hosts],
        "worker-src": [SELF],
        "manifest-src": [SELF],
        # Browsers ask also for where the form of single sign-on leads to.
        "form-action": [SELF, *([urljoin(OIDC_ISSUER, "/").rstrip("/")] if OIDC_ISSUER else [])],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
if env.bool("BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    ALLAUTH_TRUSTED_PROXY_COUNT = 1  # else every visitor has the proxy's address in the throttles

# ── API ─────────────────────────────────────────────────────────────────────────────────────────────────────────

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "images.authentication.ApiKeyAuthentication",
        "images.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["images.authentication.SignedIn"],
    "DEFAULT_RENDERER_CLASSES": ["images.problems.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "rest_framework.parsers.JSONParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_VERSIONING_CLASS": None,
    "EXCEPTION_HANDLER": "images.problems.handle",
    "DEFAULT_THROTTLE_CLASSES": ["images.throttling.PrincipalThrottle"],
    "DEFAULT_THROTTLE_RATES": {"principal": env.str("LOUPE_API_RATE", default="1200/min")},
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Loupe",
    "DESCRIPTION": "Upload pictures and find them by meaning.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False, "validatorUrl": None},
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "ImageStateEnum": "images.serializers.API_STATES",
        "ModerationEnum": "images.models.Moderation",
        "ModerationPolicyEnum": "images.models.ModerationPolicy",
        "JobStateEnum": "images.models.JobState",
        "WebhookEventEnum": "images.models.WebhookEvent",
        "DeliveryStateEnum": "images.models.DeliveryState",
        "IndexStateEnum": "search.models.IndexState",
    },
}

# ── Language and time ───────────────────────────────────────────────────────────────────────────────────────────

LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
# In their own words: whoever looks for theirs may not read the present one.
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("es", "Español")]
LANGUAGE_COOKIE_AGE = 31_536_000
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = HTTPS
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True

# ── Logs ────────────────────────────────────────────────────────────────────────────────────────────────────────

LOGGING_CONFIG = None
logs.configure(level=env.str("LOG_LEVEL", default="INFO"), as_json=env.bool("LOG_JSON", default=not DEBUG))
