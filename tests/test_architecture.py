"""The plan of the house holds: who may import whom, how long things get, and that the documents know every knob."""

import ast
import importlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("config", "workers", "search", "images")
MODULE_LINES = 500
FUNCTION_LINES = 80
MEDIAN_LINES = 8
NINTH_DECILE_LINES = 30
IMAGE_TAG = re.compile(r"[\w./-]+:[\w.-]*\d[\w.-]*")


def modules():
    return sorted(
        path for room in ROOMS for path in (ROOT / room).rglob("*.py") if "migrations" not in path.parts
    )


@cache
def functions():
    """(where, lines without docstring) of every function of the product."""
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                lines = node.end_lineno - body[0].lineno + 1
                found.append((f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines))
    return found


def python(*arguments, **env):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_import_contracts_hold():
    script = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([script, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout


def test_a_broken_contract_is_noticed(tmp_path):
    """The contracts bite: the same rooms with one forbidden import inside a function fail them."""
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    for inner in ("views", "engine", "embedding", "query", "models"):
        (tmp_path / "search" / f"{inner}.py").touch()
    (tmp_path / "images" / "keys.py").write_text("def find():\n    import search.query\n    import faiss\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    script = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([script, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "images.keys -> search.query" in result.stdout
    assert "images.keys -> faiss" in result.stdout


def test_start_up_imports_nothing_heavy():
    """`check` loads every app, URL, view and admin page; heavy libraries wait until they are needed."""
    no_s3 = dict.fromkeys((name for name in os.environ if name.startswith("S3_")), "")
    code = (
        "import sys; from django.core.management import execute_from_command_line as run;"
        "run(['manage.py', 'check']); print('imported', sorted(HEAVY & set(sys.modules)))"
    ).replace("HEAVY", "{'torch', 'transformers', 'faiss', 'boto3'}")
    result = python("-c", code, DJANGO_SETTINGS_MODULE="config.settings", **no_s3)
    assert (result.returncode, result.stdout.splitlines()[-1:]) == (0, ["imported []"]), result.stderr[-2000:]


def test_modules_stay_readable():
    long = {
        str(path): count for path in modules() if (count := len(path.read_text().splitlines())) > MODULE_LINES
    }
    assert long == {}


def test_functions_stay_short():
    assert [where for where, lines in functions() if lines > FUNCTION_LINES] == []


def test_most_functions_are_very_short():
    lengths = sorted(lines for _, lines in functions())
    assert lengths[len(lengths) // 2] <= MEDIAN_LINES
    assert lengths[len(lengths) * 9 // 10] <= NINTH_DECILE_LINES


def test_every_function_is_annotated():
    missing = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is None:
                missing.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert missing == []


def test_nothing_unpickles():
    users = [
        str(path.relative_to(ROOT))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and {"pickle", "dill", "joblib", "shelve"}
        & {getattr(node, "module", None), *(a.name for a in node.names)}
    ]
    assert users == []


@cache
def read_variables():
    """Names of the environment variables that modules of config read."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "config").glob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return {
        call.args[0].value
        for call in calls
        if re.fullmatch(r"env(\.\w+)?|os\.environ\.get|os\.getenv", ast.unparse(call.func))
        and isinstance(call.args[0], ast.Constant)
    }


def documented_variables():
    text = (ROOT / "docs" / "configuration.md").read_text()
    return set(re.findall(r"^(?:#+ |\| *)`([A-Z][A-Z0-9_]+)`", text, re.MULTILINE))


def test_the_configuration_page_names_exactly_the_variables_that_are_read():
    assert documented_variables() == read_variables()


def commands():
    return sorted(
        path.stem
        for room in ROOMS
        for path in (ROOT / room).glob("management/commands/*.py")
        if not path.stem.startswith("_")
    )


def test_the_documents_name_every_command():
    text = "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    assert [command for command in commands() if f"manage.py {command}" not in text] == []


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def commands_of(services):
    return "\n".join(" ".join(service.get("command", [])) for service in services.values())


def test_every_container_image_is_pinned(compose):
    images = [service["image"] for service in compose.values() if "build" not in service]
    base = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert [image for image in images + base if not IMAGE_TAG.fullmatch(image)] == []


def test_the_compose_workers_serve_every_queue(compose):
    from workers.schedules import QUEUES

    served = [queue for names in re.findall(r"-Q (\S+)", commands_of(compose)) for queue in names.split(",")]
    assert sorted(served) == sorted(queue.name for queue in QUEUES)


def test_the_compose_services_set_only_variables_that_are_read(compose):
    own = [service for service in compose.values() if "build" in service]
    assert {name for service in own for name in service["environment"]} <= read_variables()


def test_the_compose_commands_exist(compose):
    """Every manage.py command, Celery application and WSGI module that a service starts is there."""
    text = commands_of(compose)
    assert set(re.findall(r"manage\.py (\w+)", text)) <= set(get_commands())
    assert all(
        hasattr(importlib.import_module(name), "celery_app") for name in re.findall(r"celery -A (\w+)", text)
    )
    (module,) = re.findall(r"gunicorn .* ([\w.]+)$", text, re.MULTILINE)
    assert callable(importlib.import_module(module).application)


def test_the_gunicorn_configuration_is_valid():
    result = python("-m", "gunicorn", "--check-config", "-c", "config/gunicorn.py", "config.wsgi")
    assert result.returncode == 0, result.stderr


def test_the_image_copies_only_what_the_build_may_see():
    copied = {
        source
        for line in re.findall(r"^COPY (.+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_requirements_are_pinned_exactly():
    lines = [
        line.split("#")[0].strip()
        for name in ("requirements.txt", "requirements-dev.txt", "scripts/requirements-swift.txt")
        for line in (ROOT / name).read_text().splitlines()
    ]
    loose = [
        line
        for line in lines
        if line and not line.startswith("-r ") and not re.fullmatch(r"[\w.,\[\]-]+==[\w.]+", line)
    ]
    assert loose == []
