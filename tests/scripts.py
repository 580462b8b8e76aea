"""What the scripts of tests begin with."""

# Garbage collections would go through all of torch and Lightning: imported without them, and left as they are at the end, they
# take three seconds of a processor instead of five.
QUICKLY = "import atexit, gc; gc.disable(); atexit.register(gc.freeze)"
