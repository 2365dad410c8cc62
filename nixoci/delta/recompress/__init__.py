"""Contents that hold compressed streams: inflate both versions, patch what was inside, and deflate it again.

Only streams that an encoder of `encoders.py` makes again byte for byte are inflated; all others stay as they are.
"""
