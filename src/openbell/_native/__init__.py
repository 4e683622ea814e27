"""The compiled data plane: buffers, the per-symbol engine, views, the replay cursor.

It knows no calendar, no file and no thread. The ``.pxd`` files beside this one are the
C-level interface, for ``cimport openbell._native...``.
"""
