"""The numbers behind the elementary functions: polynomials and split constants.

Each polynomial was fitted to the function it stands for, in 60-digit arithmetic:
weighted least squares at Chebyshev nodes, the weights then moved until all error
peaks were level (Lawson 1961), and the coefficients rounded one at a time from the
constant term on, refitting the rest. The comment after each table is the largest
relative error of the function that it serves, without rounding in the evaluation. All
tables start at the constant term.
"""

from __future__ import annotations

from typing import Final

from tetragrad.core.dtypes import DType, float32, float64, int32, int64, uint32, uint64
from tetragrad.core.frozen import frozen

Table = tuple[float, ...]


@frozen
class Split:
    """A constant as the nearest value of the format plus the rest of it."""

    high: float
    low: float


@frozen
class Format:
    """A floating-point format, with the tables whose accuracy suits it."""

    dtype: DType
    signed: DType
    unsigned: DType
    fraction_bits: int
    exponent_bias: int

    # exp(r) = 1 + r + r*r*exp_tail(r) and exp2(r) = 1 + r*exp2_tail(r), where
    # |r| <= log(2)/2 and |r| <= 1/2; outside the limits they are 0 and infinity. At
    # the lower one 2**n is itself 0: a product that is too small for a number takes
    # processors a hundred cycles, and what is masked has an exponent of -infinity.
    exp_tail: Table
    exp2_tail: Table
    exp_limits: tuple[float, float]
    exp2_limits: tuple[float, float]

    # log(1+f) = f - f*f/2 + f**3 * log_tail(f) and
    # log2(1+f) = f/log(2) + f*f*log2_tail(f), where sqrt(1/2) <= 1+f < sqrt(2).
    log_tail: Table
    log2_tail: Table

    # With s = f/(2+f), log2(1+f) = s*(two + s*s*(two_thirds + s*s*pow_tail(s*s))),
    # where the words stand for that many times 1/log(2).
    pow_tail: Table

    # sin(r) = r + r**3 * sin_tail(r*r), cos(r) = 1 - r*r/2 + r**4 * cos_tail(r*r),
    # where |r| <= pi/4.
    sin_tail: Table
    cos_tail: Table

    # erf(x) = 1 - exp(-x * erf_exponent(x)), where 0 <= x <= erf_limit. From their
    # limits on, erf and tanh are 1.
    erf_exponent: Table
    tanh_limit: float
    erf_limit: float

    # pi/2 as three numbers. The second is short, so that its products with whole
    # numbers are exact as long as the angle is below moderate_angle.
    half_pi: tuple[float, float, float]
    moderate_angle: float

    log_of_2: Split
    one_over_log_of_2: Split
    two_over_log_of_2: Split
    two_thirds_over_log_of_2: Split
    half_pi_over_two_to_64: Split

    @property
    def bits(self) -> int:
        return self.dtype.bits

    @property
    def sign_bit(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.exponent_bias)


SINGLE: Final = Format(
    dtype=float32,
    signed=int32,
    unsigned=uint32,
    fraction_bits=23,
    exponent_bias=127,
    exp_tail=(  # 3.2e-9
        0.4999999403953552,
        0.1666651964187622,
        0.04166824370622635,
        0.008368823677301407,
        0.0013822840992361307,
    ),
    exp2_tail=(  # 3.0e-9
        0.6931471824645996,
        0.24022647738456726,
        0.055503591895103455,
        0.00961849745362997,
        0.0013391163665801287,
        0.00015330276801250875,
    ),
    exp_limits=(-176.0, 89.0),
    exp2_limits=(-254.0, 129.0),
    log_tail=(  # 5.9e-9
        0.3333333134651184,
        -0.250008225440979,
        0.2000122368335724,
        -0.16623301804065704,
        0.14202162623405457,
        -0.13161316514015198,
        0.1275785118341446,
        -0.07625705748796463,
    ),
    log2_tail=(  # 4.7e-9
        -0.7213473320007324,
        0.4808982312679291,
        -0.36069783568382263,
        0.28856679797172546,
        -0.23959407210350037,
        0.20461830496788025,
        -0.19125646352767944,
        0.18606725335121155,
        -0.10933367908000946,
    ),
    pow_tail=(  # 8.4e-12
        0.577080249786377,
        0.4118446409702301,
        0.33793357014656067,
    ),
    sin_tail=(  # 4.0e-9
        -0.16666655242443085,
        0.008332188241183758,
        -0.0001951807498699054,
    ),
    cos_tail=(  # 1.2e-10
        0.04166664555668831,
        -0.0013887309469282627,
        2.443234006932471e-05,
    ),
    erf_exponent=(  # 4.3e-8
        1.128379225730896,
        0.6366158723831177,
        0.10281746089458466,
        -0.019323525950312614,
        0.00019011150288861245,
        0.0012878431007266045,
        -0.0004125863197259605,
        5.297934330883436e-05,
        -1.7582211739863851e-06,
    ),
    tanh_limit=9.02,
    erf_limit=3.925,
    half_pi=(1.570796251296997, 7.549533620476723e-08, 2.5633440682570896e-12),
    moderate_angle=2.0**12,
    log_of_2=Split(0.6931471824645996, -1.9046542121259336e-09),
    one_over_log_of_2=Split(1.4426950216293335, 1.925963033500011e-08),
    two_over_log_of_2=Split(2.885390043258667, 3.851926067000022e-08),
    two_thirds_over_log_of_2=Split(0.9617967009544373, -7.028461812552678e-09),
    half_pi_over_two_to_64=Split(8.515304187176306e-20, -2.3695991071419347e-27),
)

DOUBLE: Final = Format(
    dtype=float64,
    signed=int64,
    unsigned=uint64,
    fraction_bits=52,
    exponent_bias=1023,
    exp_tail=(  # 3.7e-18
        0.5000000000000011,
        0.16666666666666438,
        0.041666666666526804,
        0.008333333333479147,
        0.0013888888944429561,
        0.00019841269538259818,
        2.480149231702038e-05,
        2.7557558911529688e-06,
        2.7630517786099225e-07,
        2.500859243245328e-08,
    ),
    exp2_tail=(  # 4.1e-18
        0.6931471805599453,
        0.2402265069591011,
        0.055504108664821736,
        0.009618129107600562,
        0.0013333558146540457,
        0.00015403530450288356,
        1.5252733641332306e-05,
        1.3215438234039064e-06,
        1.0178156440979175e-07,
        7.073333707419941e-09,
        4.439470730132342e-10,
    ),
    exp_limits=(-1418.0, 710.0),
    exp2_limits=(-2046.0, 1025.0),
    log_tail=(  # 2.7e-19
        0.3333333333333335,
        -0.2500000000000036,
        0.1999999999999321,
        -0.1666666666654962,
        0.14285714286670637,
        -0.1250000001442972,
        0.11111111052305886,
        -0.09999999078163122,
        0.09090910720110201,
        -0.08333367621177798,
        0.0769229944364816,
        -0.07142082600266768,
        0.06665978569935953,
        -0.06260501214746933,
        0.05901836769797577,
        -0.05477901263258638,
        0.05030660946190671,
        -0.05198728972975455,
        0.06051655853138071,
        -0.05386015593338782,
        0.022296915457436783,
    ),
    log2_tail=(  # 2.4e-19
        -0.7213475204444817,
        0.4808983469629881,
        -0.3606737602222501,
        0.2885390081776709,
        -0.24044917347923295,
        0.20609929157148357,
        -0.18033688035983,
        0.1602994480525289,
        -0.14426948913231186,
        0.13115411968815846,
        -0.12022512294745408,
        0.11097642292878077,
        -0.10303782525925578,
        0.09616923971005562,
        -0.09032597499108265,
        0.08515422411469255,
        -0.07899926260948997,
        0.07251244154789617,
        -0.07505457745034536,
        0.08749995291870866,
        -0.0777706191638237,
        0.03210062774599876,
    ),
    pow_tail=(  # 7.6e-23
        0.5770780163555851,
        0.41219858311134583,
        0.32059889791272017,
        0.26230819867033406,
        0.22195226922105782,
        0.19240137617710126,
        0.16845023365344905,
        0.1728293583999034,
    ),
    sin_tail=(  # 9.5e-20
        -0.16666666666666666,
        0.008333333333333049,
        -0.00019841269840975822,
        2.7557319082642415e-06,
        -2.5052073447727536e-08,
        1.6054653035590953e-10,
        -7.406915053301682e-13,
    ),
    cos_tail=(  # 5.8e-20
        0.041666666666666595,
        -0.0013888888888873318,
        2.4801587288975306e-05,
        -2.7557314206460176e-07,
        2.087570362862507e-09,
        -1.1358642890386767e-11,
    ),
    erf_exponent=(  # 7.5e-17
        1.1283791670955126,
        0.6366197723676038,
        0.10277260330032804,
        -0.019128446967316824,
        -0.00020919519219518532,
        0.0016962103137028223,
        -0.0005901459782245546,
        2.595290580751552e-05,
        6.429469625813196e-05,
        -2.9330759761524092e-05,
        2.804439227171596e-06,
        3.55673776685326e-06,
        -2.4240009863627342e-06,
        8.503725541737742e-07,
        -1.7256822138535427e-07,
        7.821842860193137e-09,
        7.937423500623434e-09,
        -3.1868851162515973e-09,
        6.866516224022814e-10,
        -9.614921307538312e-11,
        8.776049052052005e-12,
        -4.782681927624416e-13,
        1.1865055888554724e-14,
    ),
    tanh_limit=19.1,
    erf_limit=5.93,
    half_pi=(1.5707963267948966, 6.12323399409214e-17, 1.6446256936324258e-26),
    moderate_angle=2.0**21,
    log_of_2=Split(0.6931471805599453, 2.3190468138462996e-17),
    one_over_log_of_2=Split(1.4426950408889634, 2.0355273740931033e-17),
    two_over_log_of_2=Split(2.8853900817779268, 4.0710547481862066e-17),
    two_thirds_over_log_of_2=Split(0.9617966939259756, 5.0577616648125907e-17),
    half_pi_over_two_to_64=Split(8.515303950216386e-20, 3.319411800407449e-36),
)

FORMATS: Final = {format.dtype: format for format in (SINGLE, DOUBLE)}

# The first 1,184 bits of 2/pi after the point: enough to find the quadrant of any
# double, and 128 bits more (Payne and Hanek 1983).
TWO_OVER_PI_BITS: Final = 37 * 32
TWO_OVER_PI: Final = int(
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561"
    "b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484"
    "e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b"
    "3d0739f78a5292ea6bfb5fb11f8d5d0856033046",
    16,
)
