"""Exit status 0 where the web server of this container answers: what the container's health check runs."""

import sys
import urllib.error
import urllib.request

# As from the proxy, so that HTTPS=true does not answer with a redirect.
request = urllib.request.Request("http://127.0.0.1:8000/livez", headers={"X-Forwarded-Proto": "https"})
try:
    with urllib.request.urlopen(request, timeout=4) as answer:  # noqa: S310  (a constant address)
        sys.exit(answer.status != 200)
except (urllib.error.URLError, TimeoutError) as error:
    sys.exit(f"not healthy: {error}")
