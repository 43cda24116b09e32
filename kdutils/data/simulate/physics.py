"""physics: the simulated device and its tester as numbers: readings, factors, defects.

Where it comes from. Process factors move readings together as the textbook MOSFET does:
V_th rises with oxide thickness and channel doping, I_off falls exponentially with V_th
(Sze & Ng, Physics of Semiconductor Devices, ch. 6), delay follows C V / I_d (Weste &
Harris, CMOS VLSI Design, ch. 4), currents at rest are log-normal because their exponent
is normal. Defects follow the classical list of IDDQ and delay testing: gate-oxide
pinholes, resistive vias, bridges, mobile ions, junction damage by discharge, lifting
bonds (Hawkins & Soden; Bushnell & Agrawal, Essentials of Electronic Testing, ch. 13).
A defect's severity is graded. Whether it fails depends on the device's process corner,
and that is the interaction: a pinhole kills a thin oxide, a resistive via a slow die.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FACTORS = ("oxide", "length", "doping", "mobility", "metal", "probe", "heat")
SITES = 4
LOT_SHARE = 0.35  # share of each factor's variance that a whole lot has in common
LOT_MEMORY = 0.9  # correlation of one lot's factors with the next lot's: the slow drift
ABORTED = 0.006  # chance that one of the eight tests gives no reading on a device


@dataclass(frozen=True)
class Reading:
    """One of the 28 features: x = nominal + spread*u, or nominal*exp(spread*u) if log.

    step: the tester's resolution in the reading's unit (linear readings) or its number
    of significant digits (log readings, an auto-ranging meter).
    own: the standard deviation of what no factor explains.
    site: the offset of the outermost site, in units of u.
    """

    name: str
    test: str
    unit: str
    nominal: float
    spread: float
    step: float
    log: bool
    own: float
    site: float
    loads: dict[str, float]


def _r(name, test, unit, nominal, spread, step, own, site, log=False, **loads):
    return Reading(name, test, unit, nominal, spread, step, log, own, site, loads)


# fmt: off
READINGS = (
    _r("contact_vdd", "contact", "mOhm", 420, 35, 2, 0.6, 0.5, probe=0.7, metal=0.3),
    _r("contact_gnd", "contact", "mOhm", 380, 30, 2, 0.6, -0.4, probe=0.7, metal=0.3),
    _r("contact_out", "contact", "mOhm", 510, 45, 2, 0.6, 0.3, probe=0.6, metal=0.5),
    _r("leak_in_low", "pin leakage", "nA", 3.2, 1, 3, 0.7, 0, True, heat=0.6,
       doping=-0.2),
    _r("leak_in_high", "pin leakage", "nA", 4.1, 1, 3, 0.7, 0, True, heat=0.6,
       doping=-0.2),
    _r("leak_tristate", "pin leakage", "nA", 7.5, 1.2, 3, 0.6, 0, True, heat=0.5,
       length=-0.4),
    _r("leak_gate", "device leakage", "pA", 18, 1.3, 3, 0.6, 0, True, oxide=-0.7,
       heat=0.2),
    _r("leak_off", "device leakage", "nA", 1.4, 1.1, 3, 0.5, 0, True, doping=-0.6,
       length=-0.5, heat=0.4),
    _r("vth_n", "threshold", "mV", 452, 14, 1, 0.5, 0.1, oxide=0.5, doping=0.6,
       heat=-0.3),
    _r("vth_p", "threshold", "mV", 471, 15, 1, 0.5, 0.1, oxide=0.5, doping=0.5,
       heat=-0.3),
    _r("vth_mismatch", "threshold", "mV", 3, 2.2, 0.2, 0.9, 0, length=-0.3),
    _r("vdd_min", "supply voltage", "mV", 905, 22, 5, 0.5, 0.2, doping=0.4,
       length=0.4, mobility=-0.4),
    _r("v_reference", "supply voltage", "mV", 1201, 3, 0.5, 0.8, 0.3, heat=0.4,
       doping=0.2),
    _r("v_dropout", "supply voltage", "mV", 146, 9, 1, 0.6, 0.2, metal=0.5,
       mobility=-0.3, probe=0.2),
    _r("idd_quiescent", "supply current", "uA", 2.6, 1.1, 3, 0.5, 0, True,
       doping=-0.5, length=-0.5, heat=0.5),
    _r("idd_static", "supply current", "mA", 4.8, 0.22, 0.02, 0.6, 0.1, mobility=0.4,
       length=-0.3, heat=0.3),
    _r("idd_dynamic", "supply current", "mA", 23.4, 0.9, 0.1, 0.5, 0.1, mobility=0.5,
       length=-0.5, oxide=-0.2),
    _r("idd_peak", "supply current", "mA", 61, 4.2, 0.5, 0.7, 0.2, mobility=0.4,
       metal=-0.4),
    _r("t_rise", "timing", "ns", 2.35, 0.11, 0.02, 0.5, 0.5, mobility=-0.5,
       length=0.4, metal=0.4),
    _r("t_fall", "timing", "ns", 2.12, 0.1, 0.02, 0.5, 0.4, mobility=-0.5,
       length=0.4, metal=0.4),
    _r("t_propagation", "timing", "ns", 6.8, 0.31, 0.02, 0.4, 0.3, mobility=-0.5,
       length=0.5, metal=0.4, oxide=0.2),
    _r("t_skew", "timing", "ps", 38, 12, 2, 0.9, 0.3, metal=0.3),
    _r("f_oscillator", "timing", "MHz", 118, 4.6, 0.1, 0.4, 0, mobility=0.5,
       length=-0.5, oxide=-0.3, heat=-0.2),
    _r("wave_rms", "waveform", "mV", 5.4, 0.28, 3, 0.8, 0.2, True, probe=0.4),
    _r("wave_overshoot", "waveform", "mV", 74, 8, 1, 0.8, 0.3, mobility=0.4,
       metal=-0.3),
    _r("wave_settling", "waveform", "mV", 11, 0.35, 3, 0.7, 0.1, True, metal=0.4,
       probe=0.3),
    _r("wave_edge", "waveform", "mV", 8.2, 0.33, 3, 0.8, 0.4, True, probe=0.5),
    _r("wave_distortion", "waveform", "dB", -61, 1.8, 0.1, 0.8, 0, heat=0.3,
       mobility=-0.2),
)
# fmt: on


@dataclass(frozen=True)
class Defect:
    """A mechanism: how often, what it moves, what makes it fatal.

    A device fails if bias + severity_weight*severity + corner . factors + e > 0 with
    e ~ N(0, 1).
    moves: shift in u per unit of severity. jitter: extra standard deviation.
    """

    name: str
    share: float
    bias: float
    severity_weight: float
    corner: dict[str, float]
    moves: dict[str, float]
    jitter: dict[str, float]


# fmt: off
DEFECTS = (
    Defect("none", 0.74, -2.7, 0,
           {"length": 0.45, "mobility": -0.45, "heat": 0.25},
           {},
           {}),
    Defect("oxide pinhole", 0.06, -2.2, 1.76,
           {"oxide": -1.3, "heat": 0.4},
           {"leak_gate": 1.43, "idd_quiescent": 0.77, "leak_in_low": 0.55,
            "vth_n": -0.66,
            "v_dropout": 0.33},
           {}),
    Defect("resistive via", 0.055, -2.1, 1.62,
           {"mobility": -1, "length": 0.8, "metal": 0.8},
           {"contact_out": 0.66, "t_rise": 0.99, "t_propagation": 0.55, "vdd_min": 0.66,
            "wave_settling": 0.77, "idd_peak": -0.44},
           {}),
    Defect("bridge", 0.04, -1.7, 1.95,
           {"doping": -0.6},
           {"idd_quiescent": 0.88, "idd_static": 0.99, "leak_tristate": 0.88,
            "v_dropout": 0.66,
            "wave_rms": 0.55},
           {}),
    Defect("mobile ions", 0.04, -2.2, 1.69,
           {"heat": 1.2, "doping": -0.8},
           {"vth_n": -0.88, "vth_p": 0.77, "vth_mismatch": 0.99, "leak_off": 0.66,
            "f_oscillator": 0.33},
           {}),
    Defect("junction damage", 0.035, -1.8, 1.69,
           {"length": -0.7},
           {"leak_in_low": 0.99, "leak_in_high": 1.1, "wave_overshoot": 0.55,
            "t_skew": 0.77},
           {"leak_in_low": 0.8, "leak_in_high": 0.8, "t_skew": 0.6}),
    Defect("lifting bond", 0.03, -1.7, 1.56,
           {"metal": 0.7, "probe": 0.3},
           {"contact_vdd": 0.88, "wave_edge": 0.88, "idd_peak": -0.66, "vdd_min": 0.44},
           {"contact_vdd": 1.2, "contact_gnd": 1.2, "wave_edge": 0.9,
            "wave_distortion": 0.8}),
)
# fmt: on

# Severity is one of nine grades, log-spaced, with log-normal weights around grade 1.
SEVERITY = np.exp(np.linspace(-1.2, 1.2, 9))
SEVERITY_SHARE = np.exp(-0.5 * (np.log(SEVERITY) / 0.6) ** 2)
SEVERITY_SHARE /= SEVERITY_SHARE.sum()

NAMES = tuple(reading.name for reading in READINGS)
UNITS = tuple(reading.unit for reading in READINGS)
TESTS = tuple(dict.fromkeys(reading.test for reading in READINGS))


def vector(values: dict[str, float], names: tuple[str, ...]) -> np.ndarray:
    """{name: value} -> float64 array in the order of `names`, 0 where not named."""
    return np.array([values.get(name, 0.0) for name in names])


LOADS = np.array([vector(reading.loads, FACTORS) for reading in READINGS])
OWN = np.array([reading.own for reading in READINGS])
SITE_OFFSETS = np.linspace(-1, 1, SITES)[:, None] * np.array([r.site for r in READINGS])
