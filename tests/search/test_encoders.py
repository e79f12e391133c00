"""Names, files and identities of models: everything that must work without torch."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from search import encoders
from search.encoders import (
    ModelNotAvailable,
    UnknownModel,
    UnsafeWeights,
    UnsupportedModel,
    default_model_name,
    identify,
    model_files,
    spec_for,
)
from tests.search.tiny_models import clip_model, dual_model, siglip2_model


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return clip_model(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def model(built, tmp_path):
    return shutil.copytree(built, tmp_path / "model")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_unknown_names_list_what_is_known():
    with pytest.raises(UnknownModel, match="openai/clip-vit-base-patch32"):
        spec_for("openai/clip-vit-enormous")


def test_the_default_is_the_bundled_model(settings):
    settings.LOUPE_MODEL = ""
    assert default_model_name() == "loupe/demo"


def test_the_setting_names_the_default(settings):
    settings.LOUPE_MODEL = "openai/clip-vit-base-patch16"
    assert default_model_name() == "openai/clip-vit-base-patch16"


def test_siglip_is_padded_to_64_and_lower_cased():
    spec = spec_for("google/siglip2-base-patch16-224")
    assert (spec.text_padding, spec.text_max_length, spec.lowercase) == ("max_length", 64, True)
    assert {"en", "de", "ja"} < set(spec.languages)


def test_a_directory_is_known_by_its_path(model):
    spec = spec_for(model)
    assert (spec.name, spec.family, spec.label) == (str(model), "clip", "model")
    assert spec_for(spec.name) == spec


def test_a_card_beside_the_weights_tells_the_languages(model):
    (model / "loupe.json").write_text(json.dumps({"languages": ["en", "fr"], "knows": "drawings"}))
    assert (spec_for(model).languages, spec_for(model).knows) == (("en", "fr"), "drawings")


@pytest.mark.parametrize(
    "card", [{"languages": "en"}, {"knows": "smells"}, {"licence": 5}, {"templates": []}]
)
def test_a_wrong_card_names_its_field(model, card):
    (model / "loupe.json").write_text(json.dumps(card))
    with pytest.raises(UnsupportedModel, match=next(iter(card))):
        spec_for(model)


def test_dimensions_are_read_from_the_weights(model, tmp_path):
    sizes = [
        identify(folder).dimension
        for folder in (model, siglip2_model(tmp_path / "s"), dual_model(tmp_path / "d"))
    ]
    assert sizes == [64, 32, 40]


def test_text_length_follows_the_configuration(tmp_path):
    assert model_files(spec_for(dual_model(tmp_path / "d"))).text["max_length"] == 32


def test_identity_changes_with_the_weights(model, tmp_path):
    other = clip_model(tmp_path / "other", seed=1)
    assert identify(model).sha256 != identify(other).sha256


def test_identity_is_the_same_wherever_the_files_lie(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    assert identify(model).sha256 == identify(copy).sha256


def test_identity_notices_weights_changed_in_place(model):
    before = identify(model).sha256
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert identify(model).sha256 != before


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("preprocessor_config.json", {"resample": 2}),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5, 0.5]}),
        ("tokenizer_config.json", {"pad_token": "!"}),
        ("config.json", {"logit_scale_init_value": 9.0}),
    ],
)
def test_identity_changes_with_what_changes_vectors(model, file, fields):
    before = identify(model).sha256
    edit(model / file, **fields)
    assert identify(model).sha256 != before


def test_identity_ignores_who_saved_the_file(model):
    before = identify(model).sha256
    edit(model / "config.json", transformers_version="9.9")
    assert identify(model).sha256 == before


def test_checksums_are_remembered_until_the_file_changes(model, monkeypatch):
    before = identify(model)
    monkeypatch.setattr(encoders.hashlib, "file_digest", None)
    assert identify(model) == before


def test_pickled_weights_are_refused(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(UnsafeWeights, match="pickled"):
        identify(model)


def test_a_missing_shard_is_named(model):
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (model / "model.safetensors").rename(model / shards["a"])
    with pytest.raises(ModelNotAvailable, match="model-00002-of-00002"):
        identify(model)


def test_an_index_cannot_reach_outside_the_directory(model):
    outside = model.parent / "stolen.safetensors"
    shutil.copy(model / "model.safetensors", outside)
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../stolen.safetensors"}})
    )
    with pytest.raises(ModelNotAvailable, match="stolen"):
        identify(model)


def test_truncated_weights_are_damaged(model):
    (model / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ModelNotAvailable, match="damaged"):
        identify(model)


def test_a_broken_configuration_is_damaged(model):
    (model / "config.json").write_text("{")
    with pytest.raises(ModelNotAvailable, match=r"config\.json is damaged"):
        spec_for(model)


def test_another_kind_of_model_is_refused(model):
    edit(model / "config.json", model_type="bert")
    with pytest.raises(UnsupportedModel, match="bert"):
        spec_for(model)


def test_unsupported_preprocessing_names_file_and_field(model):
    edit(model / "preprocessor_config.json", do_pad=True)
    with pytest.raises(UnsupportedModel, match=r"preprocessor_config\.json: .*do_pad"):
        identify(model)


def test_a_model_that_was_never_fetched_says_how_to(empty_cache):
    with pytest.raises(ModelNotAvailable, match=r"manage\.py fetch_model openai/clip-vit-base-patch32"):
        identify("openai/clip-vit-base-patch32")


def test_the_bundled_model_says_how_to_make_it(tmp_path, monkeypatch):
    demo = replace(encoders.DEMO, source=str(tmp_path / "nowhere"))
    monkeypatch.setattr(encoders, "DEMO", demo)
    monkeypatch.setitem(encoders.REGISTRY, demo.name, demo)
    with pytest.raises(ModelNotAvailable, match="train_demo_model"):
        identify("loupe/demo")


def cached(cache, model, ref, commit):
    folder = cache / "models--openai--clip-vit-base-patch32"
    shutil.copytree(model, folder / "snapshots" / commit)
    (folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / ref).write_text(commit)


def test_a_fetched_model_is_found_in_the_cache(empty_cache, model):
    cached(empty_cache, model, "refs/pr/7", "b" * 40)
    assert identify("openai/clip-vit-base-patch32").revision == "b" * 40


def test_the_main_branch_wins_over_a_conversion(empty_cache, model):
    cached(empty_cache, model, "refs/pr/7", "b" * 40)
    cached(empty_cache, model, "main", "c" * 40)
    assert identify("openai/clip-vit-base-patch32").revision == "c" * 40


def test_a_main_branch_without_weights_does_not_hide_the_conversion(empty_cache, model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    cached(empty_cache, bare, "main", "c" * 40)
    cached(empty_cache, model, "refs/pr/7", "b" * 40)
    assert identify("openai/clip-vit-base-patch32").revision == "b" * 40


def test_naming_a_space_needs_no_torch(model):
    heavy = "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    lines = [
        "import sys, django",
        "django.setup()",
        heavy,
        "from search import clip",
        "from search.encoders import identify",
    ]
    code = "; ".join([*lines, f"identify({str(model)!r})", heavy])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=child_env()
    )
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"], done.stderr


def child_env(**fields):
    import os

    return {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **fields}


def fetch(tmp_path, endpoint, name="openai/clip-vit-base-patch32"):
    env = child_env(
        HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path / "hf"), HF_HUB_DISABLE_XET="1", HF_HUB_OFFLINE="0"
    )
    env["NO_PROXY"] = env["no_proxy"] = "127.0.0.1"
    command = [sys.executable, "manage.py", "fetch_model", name]
    root = encoders.DEMO_DIRECTORY.parents[2]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=root)


def test_fetching_a_directory_only_reports_it(model):
    out = StringIO()
    call_command("fetch_model", str(model), stdout=out)
    assert "nothing to download" in out.getvalue()


def test_fetching_an_unknown_model_is_refused():
    with pytest.raises(CommandError, match="Unknown model"):
        call_command("fetch_model", "somebody/else")


def test_fetching_offline_is_one_clear_error(tmp_path):
    done = fetch(tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Cannot download openai/clip-vit-base-patch32" in done.stderr
    assert "Traceback" not in done.stderr


def test_fetching_takes_safe_files_only_and_verifies_them(model, tmp_path, hub):
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    done = fetch(tmp_path, hub(model).url)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "hf").rglob("snapshots/*/*")}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert "pytorch_model.bin" not in names
    assert "downloaded and verified" in done.stdout


def test_fetching_refuses_weights_that_differ_from_the_announced_checksum(model, tmp_path, hub):
    done = fetch(tmp_path, hub(model, announced="0" * 64).url)
    assert done.returncode == 1
    assert "checksum" in done.stderr


def test_fetching_falls_back_to_the_converted_weights(model, tmp_path, hub):
    done = fetch(tmp_path, hub(model, weights_at="refs/pr/7").url)
    assert done.returncode == 0, done.stderr
    assert "@refs/pr/7" in done.stdout


def test_fetching_pickled_weights_only_is_refused(model, tmp_path, hub):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    done = fetch(tmp_path, hub(model).url)
    assert "no safetensors weights" in done.stderr


@pytest.fixture
def hub():
    from tests.search.tiny_hub import TinyHub

    running = []

    def start(folder, **options):
        running.append(TinyHub(folder, **options))
        return running[-1]

    yield start
    for server in running:
        server.close()
