"""PLY, PCD and NumPy files: typed in by hand, written and read again, and broken in many ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.errors import UserError
from ponderv2.normals import estimate_normals, with_normals
from ponderv2.pcd import lzf_compressed, lzf_decompressed, read_pcd_fields, write_pcd_fields
from ponderv2.ply import read_ply_elements, write_ply_elements
from ponderv2.point_files import as_cloud, read_cloud, read_pcd, read_ply, write_ply_cloud
from ponderv2.scenes import PointCloud, SceneList
from ponderv2.synthetic import make_room
from ponderv2.synthetic_layouts import pcd_fields
from ponderv2.torch_arrays import load_torch_arrays

PLY = """ply
format ascii 1.0
comment made by hand
element vertex 4
property float x
property float y
property double z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
end_header
0 0 0 255 0 0
1 0 0.5 0 255 0
1 1 0 0 0 255
0 1 0 9 9 9
3 0 1 2
3 0 2 3
"""


@pytest.fixture
def cloud():
    return make_room(1, views=0, points=500).cloud()


def test_an_ascii_ply_typed_by_hand(tmp_path):
    file = tmp_path / "a.ply"
    file.write_text(PLY)
    elements = read_ply_elements(file)
    assert elements["face"]["vertex_indices"].tolist() == [[0, 1, 2], [0, 2, 3]]
    assert elements["face"]["vertex_indices"].dtype == np.int32
    assert elements["vertex"]["z"].dtype == np.float64
    found = read_ply(file)
    assert found.coord.tolist() == [[0, 0, 0], [1, 0, 0.5], [1, 1, 0], [0, 1, 0]]
    assert found.color[1].tolist() == [0, 255, 0]
    assert found.normal is None
    assert found.semantic is None


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("faces", [[(0, 1, 2), (3, 2, 1)], [(0, 1, 2), (0, 1, 2, 3)], []])
def test_binary_ply_of_either_byte_order_with_equal_and_unequal_faces(tmp_path, order, faces):
    name = {">": "binary_big_endian", "<": "binary_little_endian"}[order]
    header = (
        f"ply\nformat {name} 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
        f"property short label\nelement face {len(faces)}\nproperty list uchar uint vertex_index\n"
        "property uchar flag\nelement camera 1\nproperty double f\nend_header\n"
    )
    body = b"".join(
        np.array(row, f"{order}f4").tobytes() + np.array([label], f"{order}i2").tobytes()
        for row, label in (((1, 2, 3), 5), ((4, 5, 6), -1))
    )
    for face in faces:
        body += bytes([len(face)]) + np.array(face, f"{order}u4").tobytes() + b"\7"
    file = tmp_path / "b.ply"
    file.write_bytes(header.encode() + body + np.array([2.5], f"{order}f8").tobytes())
    elements = read_ply_elements(file)
    assert [tuple(face) for face in elements["face"]["vertex_index"]] == faces
    assert elements["face"]["flag"].tolist() == [7] * len(faces)
    assert elements["camera"]["f"].tolist() == [2.5]
    found = read_ply(file)
    assert found.coord.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.semantic.tolist() == [5, -1]


def test_a_cloud_comes_back_from_ply_as_it_was(tmp_path, cloud):
    write_ply_cloud(tmp_path / "c.ply", cloud)
    found = read_cloud(tmp_path / "c.ply")
    assert np.array_equal(found.coord, cloud.coord)
    assert np.array_equal(found.normal, cloud.normal)
    assert np.array_equal(found.color, cloud.color.round())
    assert np.array_equal(found.semantic, cloud.semantic)
    assert np.array_equal(found.instance, cloud.instance)


def test_lists_are_written_too(tmp_path):
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    write_ply_elements(
        tmp_path / "m.ply", {"vertex": {"x": np.arange(4.0)}, "face": {"vertex_indices": faces}}
    )
    found = read_ply_elements(tmp_path / "m.ply")
    assert np.array_equal(found["face"]["vertex_indices"], faces)
    assert found["vertex"]["x"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda text: text.replace("ply\n", "obj\n", 1), "not a PLY file"),
        (lambda text: text.replace("format ascii 1.0\n", ""), "no format"),
        (lambda text: text.replace("float y", "flaot y"), ":6: "),
        (lambda text: text.replace("element vertex 4", "element vertex four"), ":4: "),
        (lambda text: text[: text.index("3 0 2 3")], "broken PLY"),
        (lambda text: text.replace("1 0 0.5 0 255 0", "1 0 half 0 255 0"), "broken PLY"),
        (lambda text: text.replace("end_header\n", ""), "not a line of a header"),
        (lambda text: text.replace("vertex", "point"), "no element vertex, but point, face"),
        (lambda text: text.replace("float x", "float u"), "no x"),
    ],
)
def test_broken_ply_files_are_refused_in_one_line(tmp_path, change, text):
    file = tmp_path / "broken.ply"
    file.write_text(change(PLY))
    with pytest.raises(UserError, match="broken") as caught:
        read_ply(file)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_binary_ply_that_ends_too_early(tmp_path, cloud):
    write_ply_cloud(tmp_path / "c.ply", cloud)
    whole = (tmp_path / "c.ply").read_bytes()
    (tmp_path / "c.ply").write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"has \d+ of 500 rows"):
        read_cloud(tmp_path / "c.ply")


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_a_cloud_comes_back_from_pcd_as_it_was(tmp_path, cloud, encoding):
    write_pcd_fields(tmp_path / "c.pcd", pcd_fields(cloud), encoding=encoding)
    found = read_pcd(tmp_path / "c.pcd")
    assert np.array_equal(found.coord, cloud.coord)
    assert np.array_equal(found.normal, cloud.normal)
    assert np.array_equal(found.color, cloud.color.round())
    assert np.array_equal(found.semantic, cloud.semantic)
    assert np.array_equal(found.instance, cloud.instance)


def test_colours_packed_in_floats_are_taken_apart(tmp_path):
    packed = np.array([0x00FF8001, 0x00010203], np.uint32).view(np.float32)
    fields = {axis: np.zeros(2, np.float32) for axis in "xyz"} | {"rgb": packed}
    write_pcd_fields(tmp_path / "c.pcd", fields, encoding="binary")
    assert read_pcd(tmp_path / "c.pcd").color.tolist() == [[255, 128, 1], [1, 2, 3]]


def test_fields_of_several_numbers_and_padding(tmp_path):
    file = tmp_path / "d.pcd"
    file.write_text(
        "# .PCD v.7\nVERSION .7\nFIELDS x y z _ fpfh\nSIZE 4 4 4 1 4\nTYPE F F F U F\nCOUNT 1 1 1 2 3\n"
        "WIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA ascii\n1 2 3 0 0 7 8 9\nnan nan nan 0 0 1 1 1\n"
    )
    fields = read_pcd_fields(file)
    assert fields["fpfh"].tolist() == [[7, 8, 9], [1, 1, 1]]
    assert read_cloud(file).coord.tolist() == [[1, 2, 3]]


def test_points_that_are_not_finite_are_left_out_and_none_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0, 0, 1], [np.nan, 0, 0], [np.inf, 0, 0]], np.float32))
    assert read_cloud(tmp_path / "a.npy").coord.tolist() == [[0, 0, 1]]
    np.save(tmp_path / "a.npy", np.full((3, 3), np.nan))
    with pytest.raises(UserError, match="holds no point that is finite"):
        read_cloud(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: data.replace(b"DATA binary_compressed", b"DATA squeezed"), "squeezed is not known"),
        (lambda data: data.replace(b"POINTS 500", b"POINTS 501"), "for 501 points"),
        (lambda data: data[:-50], "broken PCD"),
        (lambda data: b"hello\n" + data, "not a PCD file"),
        (lambda data: data.replace(b"FIELDS", b"COLUMNS").replace(b"SIZE 4", b"SIZE 3", 1), "broken PCD"),
    ],
)
def test_broken_pcd_files_are_refused(tmp_path, cloud, change, text):
    file = tmp_path / "c.pcd"
    write_pcd_fields(file, pcd_fields(cloud))
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(UserError) as caught:
        read_cloud(file)
    assert text in str(caught.value)


@given(st.binary(max_size=600), st.integers(1, 40))
def test_lzf_gives_back_what_went_in(some, times):
    plain = some * times
    assert lzf_decompressed(lzf_compressed(plain), len(plain)) == plain


def test_lzf_by_hand():
    # two literals "ab"; a reference of 6 bytes back by 2, which overlaps itself; one literal
    assert lzf_decompressed(bytes([1, 97, 98, 4 << 5, 1, 0, 99]), 9) == b"ababababc"
    # a long reference: 7 + 20 + 2 bytes back by 1
    assert lzf_decompressed(bytes([0, 120, 7 << 5, 20, 0]), 30) == b"x" * 30
    assert len(lzf_compressed(b"x" * 1000)) < 30
    with pytest.raises(ValueError, match="before its beginning"):
        lzf_decompressed(bytes([1 << 5, 5]), 3)
    with pytest.raises(ValueError, match="gives 1 bytes"):
        lzf_decompressed(bytes([0, 97]), 3)


def test_numpy_files_by_their_usual_names(tmp_path):
    places = np.arange(12.0).reshape(4, 3)
    np.savez(tmp_path / "a.npz", points=places, rgb=np.full((4, 3), 0.5), labels=np.array([0, 1, 2, -100]))
    found = read_cloud(tmp_path / "a.npz")
    assert np.array_equal(found.coord, places)
    assert found.color[0].tolist() == [127.5] * 3
    assert found.semantic.tolist() == [0, 1, 2, -1]
    np.savez(tmp_path / "b.npz", pc=np.ones((4, 4)))
    assert read_cloud(tmp_path / "b.npz").strength.tolist() == [[1.0]] * 4
    np.savez(tmp_path / "c.npz", something=places)
    with pytest.raises(UserError, match=r"no array coord, but something \(4, 3\)"):
        read_cloud(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match=r"d\.npz"):
        read_cloud(tmp_path / "d.npz")
    with pytest.raises(UserError, match="no such file"):
        read_cloud(tmp_path / "e.npy")
    (tmp_path / "f.xyz").write_text("0 0 0")
    with pytest.raises(UserError, match=r"read are \.ply"):
        read_cloud(tmp_path / "f.xyz")


def test_files_of_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        read_cloud(tmp_path / "a.npy")


def test_rows_of_floats_have_six_columns(tmp_path):
    rows = np.array([[1, 2, 3, 255, 0, 9]], np.float32)
    rows.tofile(tmp_path / "a.bin")
    assert read_cloud(tmp_path / "a.bin").color.tolist() == [[255, 0, 9]]
    rows[:, :5].copy().tofile(tmp_path / "b.bin")
    with pytest.raises(UserError, match="5 float32 numbers are no rows"):
        read_cloud(tmp_path / "b.bin")


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="color is"):
        as_cloud("f", np.zeros((3, 3)), color=np.zeros((2, 3)))
    with pytest.raises(UserError, match=r"1\.5 is no class number"):
        as_cloud("f", np.zeros((2, 3)), semantic=np.array([1, 1.5]))
    with pytest.raises(UserError, match="for 2 points"):
        as_cloud("f", np.zeros((2, 3)), instance=np.zeros(3, int))
    with pytest.raises(UserError, match="in place of"):
        as_cloud("f", np.zeros((2, 4)))


def test_colours_and_strengths_are_brought_to_their_ranges_or_refused():
    place, nan = np.zeros((2, 3)), np.nan

    def color(values, kind):
        return as_cloud("f", place, color=np.array(values, kind)).color.tolist()

    def strength(values, kind):
        return as_cloud("f", place, strength=np.array(values, kind)).strength[:, 0].tolist()

    assert color([[0, 257, 65535], [0, 0, 0]], np.uint16) == [[0, 1, 255], [0, 0, 0]]
    assert color([[0, 7, 255], [0, 0, 0]], np.uint16) == [[0, 7, 255], [0, 0, 0]]
    np.testing.assert_equal(color([[0, 0.2, 1], [nan] * 3], np.float64), [[0, 51, 255], [nan] * 3])
    assert color([[0, 0, 1], [0, 1, 0]], np.uint8) == [[0, 0, 1], [0, 1, 0]]
    assert strength([0.25, 1], np.float32) == [0.25, 1]
    assert strength([51, 255], np.int64) == pytest.approx([0.2, 1])
    assert strength([13107, 65535], np.uint16) == pytest.approx([0.2, 1])
    for values, kind in (([[0, 0, 256], [0, 0, 0]], np.int64), ([[0, 0, 300.5], [0, 0, 0]], np.float32)):
        with pytest.raises(UserError, match=r"f: color goes from 0 to (256|300\.5); it lies in 0\.\.1 or"):
            color(values, kind)
    with pytest.raises(UserError, match="f: color goes from -1 to 0"):
        color([[0, -1, 0], [0, 0, 0]], np.int32)
    with pytest.raises(UserError, match="f: strength goes from 0 to 4096"):
        strength([0, 4096], np.float32)
    with pytest.raises(UserError, match=r"f: strength goes from -0\.5 to 1"):
        strength([-0.5, 1], np.float32)
    # real numbers may miss a range by a hair, whole ones may not
    assert color([[-1e-4, 255.0001, 7], [0, 0, 0]], np.float32) == [[0, 255, 7], [0, 0, 0]]
    assert color([[-1e-4, 1.0001, 0.2], [0, 0, 0]], np.float64) == [[0, 255, 51], [0, 0, 0]]
    assert strength([-1e-4, 1.0001], np.float32) == [0, 1]
    with pytest.raises(UserError, match=r"f: color goes from -0\.01 to 1"):
        color([[-0.01, 1, 0], [0, 0, 0]], np.float32)


def test_features_are_never_filled_with_zeros():
    bare = PointCloud(np.zeros((2, 3), np.float32), color=np.full((2, 3), 255, np.float32))
    assert bare.features(("color",)).tolist() == [[1.0] * 3] * 2
    assert bare.features(("coord", "color")).shape == (2, 6)
    with pytest.raises(
        UserError,
        match=r"scene a: has no normal; estimate normals with --normals estimate, or .* its coord, color",
    ):
        bare.features(("color", "normal"), place="scene a")
    with pytest.raises(
        UserError, match=r"scene a: has no strength; name channels that it has \(coord, color\)"
    ):
        bare.features(("strength",), place="scene a")
    with pytest.raises(UserError, match="name some of"):
        bare.features(("colour",))
    with pytest.raises(UserError, match="name some of"):
        bare.features(())


def test_a_cloud_checks_its_shapes():
    with pytest.raises(ValueError, match="color is"):
        PointCloud(np.zeros((2, 3), np.float32), color=np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="int32"):
        PointCloud(np.zeros((2, 3), np.float32), semantic=np.zeros(2, np.int32))


def test_estimated_normals_of_a_room_are_nearly_its_own():
    room = make_room(2, views=0, points=20_000)
    cloud = room.cloud()
    estimated = estimate_normals(cloud.coord)
    np.testing.assert_allclose(np.linalg.norm(estimated, axis=1), 1, atol=1e-5)
    along = (estimated * cloud.normal).sum(1)
    flat = cloud.semantic < 2
    assert (along[flat] > 0.98).mean() > 0.85  # neighbours reach 12 cm around edges
    assert (np.abs(along) > 0.9).mean() > 0.85


def test_normals_of_a_plane_look_to_the_side_asked_for():
    flat = np.random.default_rng(0).random((40, 3)) * [1, 1, 0]
    np.testing.assert_allclose(estimate_normals(flat, towards=(0, 0, 5)), [[0, 0, 1]] * 40, atol=1e-5)
    np.testing.assert_allclose(estimate_normals(flat, towards=(0, 0, -5)), [[0, 0, -1]] * 40, atol=1e-5)


@pytest.mark.parametrize("coord", [np.zeros((1, 3)), np.zeros((9, 3)), np.arange(9.0)[:, None] * [[1, 2, 3]]])
def test_points_that_span_no_plane_have_no_normals(coord):
    with pytest.raises(UserError, match="cannot be estimated"):
        estimate_normals(coord)


def test_scenes_get_normals_only_where_they_have_none(tmp_path):
    room = make_room(2, views=3, points=300)
    own = with_normals(SceneList([room]))[0]
    assert own.cloud() is room.cloud()
    write_ply_cloud(tmp_path / "a.ply", PointCloud(room.cloud().coord))
    from ponderv2.reading import open_scenes

    (scene,) = open_scenes(f"cloud:{tmp_path / 'a.ply'}", normals="estimate")
    assert scene.cloud().normal.shape == (300, 3)
    (scene,) = open_scenes(f"cloud:{tmp_path / 'a.ply'}")
    assert scene.cloud().normal is None
    assert own.with_views([2, 0]).view_names == ("000002", "000000")


def test_torch_files_hold_arrays_and_tensors_only(tmp_path):
    import torch

    content = {"a": np.arange(3, dtype=np.int16), "b": torch.ones(2), "c": "text", "d": [np.float64(2.5), 1]}
    torch.save(content, tmp_path / "a.pth")
    found = load_torch_arrays(tmp_path / "a.pth")
    assert found["a"].tolist() == [0, 1, 2]
    assert isinstance(found["b"], np.ndarray)
    assert found["c"] == "text"
    assert found["d"] == [2.5, 1]


class Evil:
    def __reduce__(self):
        return (print, ("this must not be printed",))


def test_torch_files_that_name_functions_are_refused(tmp_path, capsys):
    import torch

    torch.save({"coord": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"it names .*print, and only arrays are read"):
        load_torch_arrays(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match=r"text\.pth"):
        load_torch_arrays(tmp_path / "text.pth")
    with pytest.raises(UserError, match="no such file"):
        load_torch_arrays(tmp_path / "none.pth")
    torch.save({"a": np.zeros(100)}, tmp_path / "half.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "half.pth").read_bytes()[:600])
    with pytest.raises(UserError, match=r"half\.pth"):
        load_torch_arrays(tmp_path / "half.pth")


def test_torch_files_of_numpy_1_are_read(tmp_path):
    import zipfile

    import torch

    torch.save({"a": np.arange(3.0)}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            data = new.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core" in data
                data = data.replace(b"numpy._core", b"numpy.core")
            old.writestr(name, data)
    assert load_torch_arrays(tmp_path / "old.pth")["a"].tolist() == [0, 1, 2]
