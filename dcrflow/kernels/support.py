"""How far the interpolation kernels and spline filters reach: what planning needs to know of them."""

#: Taps of each warping kernel along one axis.
TAPS = {"spline5": 6, "spline3": 4, "lanczos3": 6, "lanczos4": 8, "lanczos5": 10, "bilinear": 2}

#: Pixels along one axis that any warp looks at, those without a fused kernel included.
SUPPORT = {**TAPS, "nearest": 2, "reproject-interp": 2, "reproject-exact": 4, "reproject-adaptive": 10}

#: Degree of the B-spline that a warping kernel's input must be coefficients of.
SPLINE_DEGREE = {"spline5": 5, "spline3": 3}

#: Radius of the FIR filter from pixels to B-spline coefficients, by the degrees that it undoes. What is cut off sums up
#: to less than 1e-7 of the amplitude of anything that the filter is for: where it undoes two bases the pixels have been
#: through one of them, which leaves 0.13 of the highest frequency, where the tails are.
FIR_RADIUS = {(): 0, (3,): 14, (5,): 22, (3, 3): 16, (3, 5): 22, (5, 5): 24}
