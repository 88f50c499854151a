# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled convolution of `char_cnn.hh` for NumPy's arrays.

Shapes: n words, C columns of characters, E floats of a character, F filters, K = E times
the widest filter's width.
"""

from libc.stdint cimport int32_t, int64_t

from ._common cimport run_parts, widest

import numpy as np

from .arrays import check_lanes, check_multiple, check_shapes


cdef extern from "char_cnn.hh" namespace "spacy_elmo" nogil:
    cdef cppclass Response:
        int64_t n_columns, char_dim, n_filters, depth
        const float* characters
        const int64_t* n_windows
        const float* panels
        const int64_t* depths
        const float* limits
        float* best
        int32_t* where

    cdef cppclass ResponseBack:
        int64_t n_words, n_columns, char_dim, n_filters, depth
        const int64_t* depths
        const float* d_best
        const int32_t* where

    cdef cppclass CharactersBack(ResponseBack):
        const float* weight
        float* d_characters

    cdef cppclass FiltersBack(ResponseBack):
        const float* characters
        float* d_weight


# Words that a thread takes at once: a panel is read for all of them.
cdef int64_t WORDS = 16


def response(
    const float[:, :, ::1] characters,
    const int64_t[::1] n_windows,
    const float[:, :, ::1] panels,
    const int64_t[::1] depths,
    const float[::1] limits,
    float[:, ::1] best,
    int32_t[:, ::1] where,
    int n_threads,
):
    """The arrays of `Response`."""
    cdef:
        Response kernel
        int64_t n_words = characters.shape[0]
        int lanes = panels.shape[2] // 4
    kernel.n_columns, kernel.char_dim = characters.shape[1], characters.shape[2]
    kernel.n_filters, kernel.depth = best.shape[1], panels.shape[1]
    check_lanes(lanes, widest())
    check_multiple("best", kernel.n_filters, lanes)
    n_panels = kernel.n_filters // (4 * lanes)
    check_shapes({
        "n_windows": (n_windows, (n_words,)),
        "panels": (panels, (n_panels, kernel.depth, 4 * lanes)),
        "depths": (depths, (n_panels,)),
        "limits": (limits, (kernel.n_filters,)),
        "best": (best, (n_words, kernel.n_filters)),
        "where": (where, (n_words, kernel.n_filters)),
    })
    check_depths(depths, kernel.depth)
    if not n_words:
        return
    most = kernel.n_columns + (-kernel.depth) // kernel.char_dim + 1
    if np.min(n_windows) < 1 or np.max(n_windows) > most:
        raise ValueError(
            f"n_windows: expected one or more, no more than {kernel.n_columns} columns "
            f"of characters have, found from {np.min(n_windows)} to {np.max(n_windows)}."
        )
    kernel.characters, kernel.n_windows = &characters[0, 0, 0], &n_windows[0]
    kernel.panels, kernel.depths = &panels[0, 0, 0], &depths[0]
    kernel.limits = &limits[0]
    kernel.best, kernel.where = &best[0, 0], &where[0, 0]
    with nogil:
        run_parts(kernel, n_words, WORDS, lanes, n_threads)


def characters_back(
    const float[:, ::1] d_best,
    const int32_t[:, ::1] where,
    const int64_t[::1] depths,
    const float[:, ::1] weight,
    float[:, :, ::1] d_characters,
    int lanes,
    int n_threads,
):
    """The arrays of `CharactersBack`."""
    cdef CharactersBack kernel
    kernel.n_words, kernel.n_filters = d_best.shape[0], d_best.shape[1]
    kernel.n_columns, kernel.char_dim = d_characters.shape[1], d_characters.shape[2]
    kernel.depth = weight.shape[1]
    check_back(d_best, where, depths, weight, d_characters, lanes)
    if not kernel.n_words:
        return
    kernel.d_best, kernel.where = &d_best[0, 0], &where[0, 0]
    kernel.depths, kernel.weight = &depths[0], &weight[0, 0]
    kernel.d_characters = &d_characters[0, 0, 0]
    with nogil:
        run_parts(kernel, kernel.n_words, WORDS, lanes, n_threads)


def filters_back(
    const float[:, ::1] d_best,
    const int32_t[:, ::1] where,
    const int64_t[::1] depths,
    const float[:, :, ::1] characters,
    float[:, ::1] d_weight,
    int lanes,
    int n_threads,
):
    """The arrays of `FiltersBack`."""
    cdef FiltersBack kernel
    kernel.n_words, kernel.n_filters = d_best.shape[0], d_best.shape[1]
    kernel.n_columns, kernel.char_dim = characters.shape[1], characters.shape[2]
    kernel.depth = d_weight.shape[1]
    check_back(d_best, where, depths, d_weight, characters, lanes)
    if not kernel.n_words:
        return
    kernel.d_best, kernel.where = &d_best[0, 0], &where[0, 0]
    kernel.depths, kernel.characters = &depths[0], &characters[0, 0, 0]
    kernel.d_weight = &d_weight[0, 0]
    with nogil:
        run_parts(kernel, kernel.n_filters, 16, lanes, n_threads)


def check_depths(depths, depth):
    if np.min(depths) < 1 or np.max(depths) > depth:
        raise ValueError(
            f"depths: expected 1 to {depth}, found {np.min(depths)} to "
            f"{np.max(depths)}."
        )


def check_back(d_best, where, depths, weight, characters, lanes):
    n_words, n_filters = d_best.shape[0], d_best.shape[1]
    check_lanes(lanes, widest())
    check_shapes({
        "where": (where, (n_words, n_filters)),
        "depths": (depths, (n_filters,)),
        "weight": (weight, (n_filters,)),
        "characters": (characters, (n_words,)),
    })
    check_depths(depths, weight.shape[1])
    char_dim = characters.shape[2]
    if n_words and (
        np.min(where) < 0
        or np.max(np.asarray(where, np.int64) * char_dim + np.asarray(depths))
        > characters.shape[1] * char_dim
    ):
        raise ValueError(
            f"where: expected windows within {characters.shape[1]} columns of "
            f"characters, found some that reach beyond them."
        )
