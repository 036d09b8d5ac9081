import subprocess
import sys


def test_the_room_loads_without_tensorflow_pillow_and_opencv():
    heavy = ["tensorflow", "keras", "PIL", "cv2", "matplotlib", "numba"]
    code = (
        "import sys, keras_wsol.viz; "
        f"assert not [m for m in {heavy} if m in sys.modules], sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
