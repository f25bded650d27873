"""Install the package as settings.ini describes it."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
config = parser["DEFAULT"]
extras = {key.removesuffix("_requirements"): config[key].split()
          for key in config if key.endswith("_requirements")}

setup(
    name=config["lib_name"],
    version=config["version"],
    description=config["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=config["author"],
    author_email=config["author_email"],
    license="Apache-2.0",
    keywords=config["keywords"],
    url=config["git_url"],
    # pyproject.toml, which nbdev writes, declares these as given here. Listed by hand: nbdev's own
    # list of Python versions lacks 3.11.
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        *(f"Programming Language :: Python :: {minor}" for minor in ("3.11", "3.12", "3.13")),
    ],
    packages=find_packages(include=["disaster_nbdev", "disaster_nbdev.*"]),
    include_package_data=True,
    package_data={"disaster_nbdev": ["report_template/**/*", "student/*", "py.typed"]},
    python_requires=f">={config['min_python']},<3.14",
    install_requires=config["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": config["console_scripts"].split(),
                  "nbdev": [f"{config['lib_name']}={config['lib_name']}._modidx:d"]},
    zip_safe=False,
)
