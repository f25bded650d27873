"""Arithmetic: how many machines a stream of tweets needs, what that costs, and where it breaks."""


import math
from dataclasses import dataclass

import pandas as pd

from disaster_nbdev.data import UserError


@dataclass(frozen=True)
class Demand:
    "The stream, and how full machines may be."
    tweets_per_day: float
    peak_factor: float = 2.0 # the busiest hour, in times of the mean hour
    planned_use: float = 0.5 # share of a machine's time that may be planned; the rest is head room

    def __post_init__(self):
        if not (self.tweets_per_day > 0 and self.peak_factor >= 1 and 0 < self.planned_use <= 1):
            raise UserError("A stream has more than 0 tweets a day, a peak of at least 1 mean "
                            "hour, and machines planned to be used between 0 and 1 of their time.")

    @property
    def mean(self) -> float: return self.tweets_per_day / 86_400 # tweets per second

    @property
    def peak(self) -> float:
        return self.mean * self.peak_factor # tweets per second in the busiest hour


@dataclass(frozen=True)
class Rates:
    "What one machine was measured to do (`capacity_facts` of `48_benchmark`)."
    score_rate: float # tweets per second, all cores at work, without the start
    start_seconds: float # until the first tweet is scored
    cores: int
    memory_mb: float # of the command with all its processes, at the most
    read_rate: float # tweets that one process reads from CSV per second
    write_rate: float # tweets that one process writes to CSV per second
    bytes_in: float # per tweet
    bytes_out: float # per tweet


def measured(
    facts: dict, # benchmark.json
) -> Rates:
    "The rates of a benchmark; raises `UserError` when it holds none."
    try: return Rates(**facts["details"]["capacity"])
    except (KeyError, TypeError):
        raise UserError(
            "This benchmark holds no rates of scoring; run `make benchmark` again.") from None


def machines(demand: Demand, rates: Rates) -> int:
    "Machines for the busiest hour, with head room."
    return math.ceil(demand.peak / (rates.score_rate * demand.planned_use))


def catching_up(
    demand: Demand, rates: Rates,
    stood_still: float, # hours without scoring
) -> float: # hours until nothing is left over
    "How long it takes to work off what has piled up, in hours of the mean, with all machines fully used."
    return stood_still * demand.mean / (machines(demand, rates) * rates.score_rate - demand.mean)


def needs_table(demand: Demand, rates: Rates) -> pd.DataFrame: # what, value
    "What the stream asks for."
    count = machines(demand, rates)
    return pd.DataFrame([("Tweets per second, mean", f"{demand.mean:,.0f}"),
                         ("Tweets per second, busiest hour", f"{demand.peak:,.0f}"),
                         ("Tweets per second that a machine scores", f"{rates.score_rate:,.0f}"),
                         ("Machines, with head room", f"{count:,}"),
                         ("Cores", f"{count * rates.cores:,}"), ("Memory of the scoring processes, "
                                                                 "GB per machine",
                                                                 f"{rates.memory_mb / 1e3:.1f}"),
                         ("Memory of the scoring processes, GB in all",
                          f"{count * rates.memory_mb / 1e3:,.1f}"),
                         ("Machines busy in a mean hour", f"{demand.mean / rates.score_rate:,.1f}"),
                         ("Hours to catch up after an hour's standstill",
                          f"{catching_up(demand, rates, 1):.2f}"),], columns=["what", "value"])


def cost_table(
    demand: Demand, rates: Rates,
    prices: list[float], # of a core-hour, each an assumption
) -> pd.DataFrame: # price, a million tweets three ways, a day
    "What a million tweets cost, and a day."
    core_hours = 1e6 / rates.score_rate / 3600 * rates.cores # for a million tweets
    standing = machines(demand, rates) * rates.cores * 24 # core-hours of a day
    return pd.DataFrame([{"price of a core-hour": price,
                          "a million, cores always busy": price * core_hours,
                          "a million, cores used as planned": price * core_hours
                          / demand.planned_use, "a million, machines always ready": price * standing
                          / demand.tweets_per_day * 1e6,
                          "a day, machines always ready": price * standing} for price in prices])


def limits_table(
    demand: Demand, rates: Rates,
    link: float, # of the reader's and writer's machine, 10^9 bits per second; an assumption
) -> pd.DataFrame: # limit, tweets per second, share used (in the busiest hour), breaks at (tweets per day), holds
    "What is there only once, how much of it the busiest hour takes, and at how many tweets a day it is not enough."
    once = {"One process reads": rates.read_rate, "One process writes": rates.write_rate,
            "One process does both, as the command does": 1
            / (1/rates.read_rate + 1/rates.write_rate),
            "One link, in and out again": link * 1e9 / 8 / (rates.bytes_in + rates.bytes_out)}
    return pd.DataFrame([{"limit": name, "tweets per second": rate,
                          "share used": demand.peak / rate,
                          "breaks at": rate / demand.peak_factor * 86_400,
                          "holds": "yes" if demand.peak <= rate else "no"}
                         for name, rate in once.items()])


def parts(limits: pd.DataFrame) -> int: # limits: what `limits_table` gave
    "Into how many streams, each with a reader and a writer of its own, the stream must be parted so that everything holds."
    return max(1, math.ceil(limits["share used"].max()))


def network_table(demand: Demand, rates: Rates) -> pd.DataFrame: # way, bytes per tweet, megabits per second (busiest hour), gigabytes per day
    "What goes over the network when the tweets are read and written on another machine than the one that scores them."
    sizes = {"in": rates.bytes_in, "out": rates.bytes_out, "both": rates.bytes_in + rates.bytes_out}
    return pd.DataFrame([{"way": way, "bytes per tweet": size,
                          "megabits per second, busiest hour": size * 8 * demand.peak / 1e6,
                          "gigabytes per day": size * demand.tweets_per_day / 1e9}
                         for way, size in sizes.items()])


def starts_table(
    rates: Rates,
    pieces: list[int], # tweets for which a worker is started
) -> pd.DataFrame: # tweets, seconds, share of the start
    "What share of the time the start takes."
    seconds = [rates.start_seconds + tweets / rates.score_rate for tweets in pieces]
    return pd.DataFrame({"tweets": pieces, "seconds": seconds,
                         "share of the start": [rates.start_seconds / taken for taken in seconds]})


def smallest_piece(rates: Rates, share: float = 0.05) -> int: # tweets
    "The smallest piece of work of which the start is no more than this share."
    return math.ceil(rates.start_seconds * rates.score_rate * (1 - share) / share)


def verdict(demand: Demand, rates: Rates, limits: pd.DataFrame) -> str: # Markdown
    "What the arithmetic says."
    tight = limits.loc[limits["share used"].idxmax()]
    lines = [f"- {demand.tweets_per_day:,.0f} tweets a day, {demand.peak:,.0f} a second in the "
             f"busiest hour, need **{machines(demand, rates):,} "
             f"{'machine' if machines(demand, rates) == 1 else 'machines'}** like the one "
             f"measured, with {rates.cores} cores.",
             f"- What is tight first: " f"{tight['limit'][0].lower() + tight['limit'][1:]}, of "
                                        f"which the busiest hour takes {tight['share used']:.0%}; "
                                        f"it breaks at {tight['breaks at']:,.0f} tweets a day."
             + (f" The stream has to be parted into {parts(limits)}, each with a reader and a "
                f"writer of its own." if parts(limits) > 1
                else " One reader and one writer are enough."),
             f"- A worker takes {rates.start_seconds:.1f} s to start; with "
             f"{smallest_piece(rates):,} tweets or more for each start, that is at most a "
             f"twentieth of its time."]
    return "\n".join(lines)
