"""The table of all runs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from vae import RunError, Summary, open_run, summarise


def summaries(names: list[str]) -> tuple[list[Summary], list[str]]:
    """A row for each run that can be opened, and a sentence for each that can't."""
    rows, problems = [], []
    for name in names:
        try:
            rows.append(summarise(open_run(name)))
        except (RunError, OSError) as error:
            problems.append(str(error))
    return rows, problems


def show_table(rows: list[Summary]) -> None:
    """Draw the table; a click on a column's name sorts by it."""
    table = pd.DataFrame(
        {
            "Run": [row.name for row in rows],
            "State": [row.state or "unknown" for row in rows],
            "Data set": [row.dataset for row in rows],
            "Preset": [row.preset for row in rows],
            "Latent": [row.latent for row in rows],
            "Parameters": pd.array([row.parameters for row in rows], dtype="Int64"),
            "Epochs": [f"{row.epoch:,} of {row.epochs:,}" for row in rows],
            "Test −ELBO": pd.array([row.negative_elbo for row in rows], dtype="Float64"),
            "Active": pd.array([row.active_units for row in rows], dtype="Int64"),
            "When": pd.to_datetime([row.updated for row in rows], unit="s"),
            "MB": [row.size / 1e6 for row in rows],
        }
    )
    number = st.column_config.NumberColumn
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "Latent": number("Latent", help="Number of latent dimensions."),
            "Parameters": number("Parameters", format="localized"),
            "Test −ELBO": number("Test −ELBO", format="%.2f", help="Nats per image, mean, one sample of z."),
            "Active": number("Active", help="Latent dimensions whose posterior mean varies (variance above 0.01)."),
            "When": st.column_config.DatetimeColumn("When", format="YYYY-MM-DD HH:mm", help="Its last sign of life, in UTC."),
            "MB": number("MB", format="%.1f", help="Size on the disk, in megabytes (10⁶ bytes)."),
        },
        height=min(600, 38 + 35 * max(1, len(rows))),
    )
