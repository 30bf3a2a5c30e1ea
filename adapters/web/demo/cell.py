sales = pd.read_csv("sales.csv", parse_dates=["month"])
table = sales.pivot_table(index="month", columns="region", values="revenue", aggfunc="sum")

fig, ax = plt.subplots(figsize=(8, 4.2))
ax.set_prop_cycle(color=["#2563a8", "#d9822b", "#4a8f5b"])
for region in table.columns:
    ax.plot(table.index, table[region], marker="o", label=region)
ax.set(title="Revenue per month by region", xlabel="Month", ylabel="Revenue (k€)")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)

growth = (table.iloc[-1] / table.iloc[0] - 1) * 100
print(f"{growth.idxmax().capitalize()} grew most: {growth.max():+.0f} % from January to December.")
table.agg(["sum", "mean", "max"]).T.round(1).reset_index()
