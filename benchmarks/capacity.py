"""Compute how many machines a stream of tweets needs, its cost, and its bottlenecks."""


import math
from dataclasses import dataclass

import pandas as pd

from disaster_nbdev.core import UserError


@dataclass(frozen=True)
class Demand:
    "Describe the stream and the target utilization of the machines."
    tweets_per_day: float
    peak_factor: float = 2.0 # load of the busiest hour, as a multiple of the mean hour
    planned_use: float = 0.5 # target utilization of a machine; the rest is headroom

    def __post_init__(self):
        if not (self.tweets_per_day > 0 and self.peak_factor >= 1 and 0 < self.planned_use <= 1):
            raise UserError("A stream needs more than 0 tweets per day, a peak factor of at least "
                            "1, and a planned use above 0 and at most 1.")

    @property
    def mean(self) -> float: # tweets per second
        "Return the mean rate of the stream."
        return self.tweets_per_day / 86_400

    @property
    def peak(self) -> float: # tweets per second
        "Return the rate of the stream in the busiest hour."
        return self.mean * self.peak_factor


@dataclass(frozen=True)
class Rates:
    "Hold the measured rates of one machine, from `benchmark.capacity_facts`."
    score_rate: float # tweets per second on all cores, without the start
    start_seconds: float # until the first tweet is scored
    cores: int
    memory_mb: float # peak of the command with all its processes
    read_rate: float # tweets per second that one process reads from CSV
    write_rate: float # tweets per second that one process writes to CSV
    bytes_in: float # per tweet
    bytes_out: float # per tweet


def measured(
    facts: dict, # benchmark.json
) -> Rates:
    "Return the rates of a benchmark; raise `UserError` if it has none."
    try: return Rates(**facts["details"]["capacity"])
    except (KeyError, TypeError):
        raise UserError(
            "This benchmark has no scoring rates; run `make benchmark` again.") from None


def machines(demand: Demand, rates: Rates) -> int:
    "Return the number of machines for the busiest hour, with headroom."
    return math.ceil(demand.peak / (rates.score_rate * demand.planned_use))


def catching_up(
    demand: Demand, rates: Rates,
    outage: float, # hours without scoring
) -> float: # hours until the backlog is empty
    "Return the time to clear a backlog at the mean load, with all machines fully used."
    spare = machines(demand, rates) * rates.score_rate - demand.mean
    return outage * demand.mean / spare


def needs_table(demand: Demand, rates: Rates) -> pd.DataFrame: # what, value
    "Return a table of the machines, cores and memory that the stream needs."
    count = machines(demand, rates)
    memory_gb = rates.memory_mb / 1e3
    rows = {
        "Tweets per second, mean": f"{demand.mean:,.0f}",
        "Tweets per second, busiest hour": f"{demand.peak:,.0f}",
        "Tweets per second that a machine scores": f"{rates.score_rate:,.0f}",
        "Machines, with headroom": f"{count:,}",
        "Cores": f"{count * rates.cores:,}",
        "Memory of the scoring processes, GB per machine": f"{memory_gb:.1f}",
        "Memory of the scoring processes, GB in total": f"{count * memory_gb:,.1f}",
        "Machines busy in a mean hour": f"{demand.mean / rates.score_rate:,.1f}",
        "Hours to catch up after an outage of one hour": f"{catching_up(demand, rates, 1):.2f}",
    }
    return pd.DataFrame(rows.items(), columns=["what", "value"])


def cost_table(
    demand: Demand, rates: Rates,
    prices: list[float], # assumed prices of a core-hour
) -> pd.DataFrame: # price, a million tweets computed in three ways, a day
    "Return the cost of a million tweets and of a day."
    core_hours = 1e6 / rates.score_rate / 3600 * rates.cores # per million tweets
    per_day = machines(demand, rates) * rates.cores * 24 # core-hours
    return pd.DataFrame([{
        "price of a core-hour": price,
        "a million, cores always busy": price * core_hours,
        "a million, cores used as planned": price * core_hours / demand.planned_use,
        "a million, machines always ready": price * per_day / demand.tweets_per_day * 1e6,
        "a day, machines always ready": price * per_day,
    } for price in prices])


def limits_table(
    demand: Demand, rates: Rates,
    # assumed bandwidth of the machine that reads and writes, 10^9 bits per second
    link: float,
# limit, tweets per second, share used (in the busiest hour), breaks at (tweets per day), holds
) -> pd.DataFrame:
    "Return the shared resources, and the load at which each becomes the bottleneck."
    both = 1 / (1/rates.read_rate + 1/rates.write_rate)
    once = {
        "One process reads": rates.read_rate,
        "One process writes": rates.write_rate,
        "One process does both, as the command does": both,
        "One network link, in and out": link * 1e9 / 8 / (rates.bytes_in + rates.bytes_out),
    }
    return pd.DataFrame([{
        "limit": name,
        "tweets per second": rate,
        "share used": demand.peak / rate,
        "breaks at": rate / demand.peak_factor * 86_400,
        "holds": "yes" if demand.peak <= rate else "no",
    } for name, rate in once.items()])


def parts(limits: pd.DataFrame) -> int: # limits: returned by `limits_table`
    "Return the number of shards that the stream needs, each with its own reader and writer."
    return max(1, math.ceil(limits["share used"].max()))


def network_table(
    demand: Demand, rates: Rates,
# way, bytes per tweet, megabits per second (busiest hour), gigabytes per day
) -> pd.DataFrame:
    "Return the network traffic if one machine reads and writes, and others score."
    sizes = {"in": rates.bytes_in, "out": rates.bytes_out, "both": rates.bytes_in + rates.bytes_out}
    return pd.DataFrame([{
        "way": way,
        "bytes per tweet": size,
        "megabits per second, busiest hour": size * 8 * demand.peak / 1e6,
        "gigabytes per day": size * demand.tweets_per_day / 1e9,
    } for way, size in sizes.items()])


def starts_table(
    rates: Rates,
    pieces: list[int], # batch sizes in tweets; one worker is started per batch
) -> pd.DataFrame: # tweets, seconds, share of the start
    "Return the share of a worker's time that its start takes."
    seconds = [rates.start_seconds + tweets / rates.score_rate for tweets in pieces]
    return pd.DataFrame({"tweets": pieces, "seconds": seconds,
                         "share of the start": [rates.start_seconds / taken for taken in seconds]})


def smallest_piece(rates: Rates, share: float = 0.05) -> int: # tweets
    "Return the smallest batch for which the start takes at most this share of the time."
    return math.ceil(rates.start_seconds * rates.score_rate * (1 - share) / share)


def verdict(demand: Demand, rates: Rates, limits: pd.DataFrame) -> str: # Markdown
    "Summarize the machines needed, the first bottleneck and the smallest useful batch."
    tight = limits.loc[limits["share used"].idxmax()]
    name = tight["limit"][0].lower() + tight["limit"][1:]
    count, shards = machines(demand, rates), parts(limits)
    noun = "machine" if count == 1 else "machines"
    sharding = (f"The stream has to be sharded into {shards}, each with its own reader and writer."
                if shards > 1 else "One reader and one writer are enough.")
    lines = [
        f"- {demand.tweets_per_day:,.0f} tweets per day, {demand.peak:,.0f} per second in the "
        f"busiest hour, need **{count:,} {noun}** like the one measured, "
        f"with {rates.cores} cores.",
        f"- The first bottleneck: {name}. The busiest hour uses {tight['share used']:.0%} of it; "
        f"it breaks at {tight['breaks at']:,.0f} tweets per day. {sharding}",
        f"- A worker takes {rates.start_seconds:.1f} s to start. With at least "
        f"{smallest_piece(rates):,} tweets per start, that is at most 5% of its time.",
    ]
    return "\n".join(lines)
