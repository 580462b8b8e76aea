"""Fused jobs: trials whose models have the same structure train as one vectorised fit.

structure   what models have in common that may be stacked
stack       parameters and buffers of all models, stacked along a trial axis; each model keeps views of its row
shared      what is frozen and the same in all models, held once and computed with once
step        the user's own training and validation step, run for all rows at once by torch.func.vmap
step_output  what that gives: its return value, and what it logs
shared_trainer  what it sees of the Trainer
overrides   operations in forms that this takes; dropout, attention, recurrent, indexing are some
autocast    half precision in it, as in an ordinary step
made        what a step makes in the module, such as a mask, which is the same for all rows
state       the plain values in a module, by where they are, to see what differs and what changes
carried     numbers that differ between the models and may be read in a step, as what numbers says
apart       what else differs, and may not
lists       what the models' lists get of a step, for hooks at the end of the epoch
graphs      steps recorded once and replayed, on CUDA devices
replayable  whether a step may be
check       whether the fused step does what the ordinary ones do, and is faster; tf32 is off for that
rows_at_once  for how many rows a step is run at once
trees       tensors of all rows, and nests of containers with tensors in them
rules       SGD and other optimizers on stacked parameters; Adam and its kin are in rules_adam
loss_scales each row's own loss scale, where it trains in float16
coefficients  of the rules, from the hyperparameters that each row has at a step
updates     the update of all parameters, replayed where that can be
optimizer   one update for all rows, each by its own optimizer's current values
member      one trial in the fit: its model, its optimizer and schedulers, its Trainer, its record
hooks       its hooks, the user's among them
batch_hooks those of all members that run once a batch
checkpoints its checkpoints, until it is time to write them
best        the weights of each member's best epoch
journal     what a member logs
unsupported what a fused fit leaves to ordinary ones
feed        the fit's batches, taken at once where the data are tensors
batches     loaders that do so
resident    copies of small data sets on the device
relay       passes the fit's hooks on to the members
module      the LightningModule that Lightning trains
run         the job: fits as large as memory takes
"""
