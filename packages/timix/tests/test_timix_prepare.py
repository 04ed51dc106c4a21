"""The verb prepare; what it does is tested where it is, in nonet."""

import json

from PIL import Image

from nonet.testing import call_cli


def test_pairs_are_checked_and_packed_and_mistakes_leave_nothing(tmp_path):
    for number in range(4):
        Image.new("RGB", (6, 8), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
    records = [{"image": f"{number}.png", "caption": f"A dog, {number}."} for number in range(4)]
    (tmp_path / "pairs.json").write_text(json.dumps(records))
    words = ("prepare", "--pairs", tmp_path / "pairs.json", "--out", tmp_path / "out")
    refused = call_cli("timix", *words, "--share", "2")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "share is 2; it is above 0 and at most 1" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = call_cli("timix", *words)
    assert done.returncode == 0, done.stderr
    assert "pairs.jsonl: 4 items of 4 images, 4 captions" in done.stdout
    lines = (tmp_path / "out" / "pairs.jsonl").read_text().splitlines()
    assert [json.loads(line)["caption"] for line in lines] == [[f"a dog {number}"] for number in range(4)]
