"""Every error of the training commands is one line that names the value and the remedy, and nothing is written."""

import re
from pathlib import Path

import pytest
from pytorch_lightning.loggers import CSVLogger

CANCER = str(Path(__file__).parents[2] / "configs/breast_cancer.yaml")

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "undrawn")


FILES = {
    "twice.yaml": "model:\n  lr: 1\n  momentum: 0\n  lr: 2\n",
    "list.yaml": "- model\n",
    "tab.yaml": "model:\n\tlr: 1\n",
    "semicolon.csv": "x;y\n" + "1,5;a\n2;b\n" * 9,
    "blank.csv": "x,y\n1,a\n,b\n" + "3,b\n4,a\n" * 9,
    "twins.csv": "x,x,y\n1,2,a\n",
    "ragged.csv": "x,y\n1,a\n2,b,c,d\n",
    "empty.csv": "",
    "header.csv": "x,y\n",
    "texts.csv": "x,y\n" + "".join(f"person {i},{'ab'[i % 2]}\n" for i in range(200)),
    "one.csv": "x,y\n" + "1,a\n2,a\n" * 9,
    "broken.parquet": "PAR1 and no more",
    "syntax.yaml": "model:\n  hidden: [3\n  lr: 1\n",
    "text.yaml": "breast cancer",
    "key.yaml": "model:\n  hiden: [3]\n",
    "group.yaml": "modle:\n  hidden: [3]\n",
    "linked.yaml": "model:\n  in_features: 3\n",
    "sep.yaml": "data:\n  sep: 1\n",
    "value.yaml": "model:\n  lr: fast\n",
    "broken.ckpt": "not a checkpoint",
    "two.csv": "x,y\n" + "1,a\n2,b\n" * 9,
    "three.csv": "x,y\n1,a\n2,b\n3,c\n",
    "text.csv": "x,y\n1,a\n2,b\ntall,b\n" + "3,a\n4,b\n" * 9,
}
# after `-c configs/breast_cancer.yaml`: the arguments, the exit status, and what the line must say
BAD = [
    ("fit --model.hiden [3]", 2, "'model.hiden'; did you mean model.hidden?"),
    ("fit --trainer.max_epoch 3", 2, "'trainer.max_epoch'; did you mean trainer.max_epochs?"),
    ("fit -c key.yaml", 2, "'model.hiden'; did you mean model.hidden?"),
    ("fit -c group.yaml", 2, "'modle.hidden'; did you mean model.hidden?"),
    ("fit -c linked.yaml", 2, "linked.yaml: model.in_features comes from the data"),
    ("fit -c value.yaml", 2, "model.lr=fast must be of type float"),
    ("fit -c syntax.yaml", 2, "syntax.yaml, line 3: "),
    ("fit -c text.yaml", 2, "text.yaml holds no keys"),
    ("fit -c nowhere.yaml", 2, "there is no file nowhere.yaml"),
    ("fit -c=syntax.yaml", 2, "syntax.yaml, line 3: "),
    ("fit -c .", 2, "there is no file ."),
    ("fit --trainer.overfit_batches 2", 2, "overfit_batches replaces the loader of the rows"),
    ("fit --trainer.max_epochs null", 2, "trainer.max_epochs=null must be a number of epochs, or -1 to train"),
    (
        'fit --trainer.callbacks [{"class_path":"EarlyStopping","init_args":{"monitor":"val/typo"}}]',
        2,
        "EarlyStopping: monitor='val/typo' is not a metric of training; use train/loss, val/loss",
    ),
    (
        'fit --trainer.callbacks [{"class_path":"EarlyStopping","init_args":{"monitor":"val/loss"}},'
        '{"class_path":"Timer","init_args":{"x":1}}]',
        2,
        "trainer.callbacks: .*Timer: the class has no argument 'x'",
    ),
    ("fit --model.in_features 3", 2, "model.in_features comes from the data; leave it out"),
    ("fit --optimizer adam", 2, "there is no key 'optimizer'; did you mean model.optimizer?"),
    ("fit --trainer.lr 1", 2, "there is no key 'trainer.lr'; did you mean model.lr?"),
    ("fit --model.dropuot 0.1", 2, "there is no key 'model.dropuot'; did you mean model.dropout?"),
    ("fit --model.depth 3", 2, "there is no key 'model.depth'; model has hidden, .*compile"),
    ("fit --data.rows 3", 2, "there is no key 'data.rows'; data has source, target, "),
    ("fit --zzz 3", 2, "there is no key 'zzz'; there are .*checkpoint, .*data, .*trainer"),
    ("test --ckpt_path .", 1, r"\. has no checkpoint; it is no run"),
    ("fit --trainer.logger PackageLess", 2, "PackageLess: a-package is not installed: pip install 'a-package>=1'"),
    (
        "fit --trainer.logger [CSVLogger,PackageLess]",
        2,
        "PackageLess: a-package is not installed: pip install 'a-package>=1'",
    ),
    ("fit --trainer.logger no.Such", 2, "trainer.logger=no.Such: No module named 'no'"),
    ("fit --trainer.logger torch.Such", 2, "trainer.logger=torch.Such: module 'torch' has no attribute 'Such'"),
    ("fit --trainer.logger Such", 2, "trainer.logger=Such: there is no class Such; give module.Class"),
    (
        'fit --trainer.logger {"class_path":"CSVLogger","init_args":{"dir":"r"}}',
        2,
        "CSVLogger: the class has no argument 'dir'",
    ),
    ("fit --trainer.logger.init_args.dir r", 2, "trainer.logger: the class has no argument 'dir'"),
    (
        "fit --trainer.callbacks EarlyStopping",
        2,
        "trainer.callbacks: .*EarlyStopping: the class needs init_args with monitor",
    ),
    (
        "fit --trainer.callbacks torch.nn.Linear",
        2,
        "trainer.callbacks=torch.nn.Linear: .* not .* a subclass of Callback",
    ),
    (
        'fit --trainer.callbacks [{"class_path":"EarlyStopping","init_args":{"monitor":"val/loss","patience":"x"}}]',
        2,
        "trainer.callbacks: EarlyStopping: patience=x must be of type int",
    ),
    ("fit --trainer.precision 7", 2, "trainer.precision=7 must be one of 64, 32, 16, transformer-engine, .*bf16$"),
    ("fit -c twice.yaml", 2, "twice.yaml, line 4: a second 'lr'"),
    ("fit -c list.yaml", 2, "list.yaml holds no keys"),
    ("fit -c tab.yaml", 2, "tab.yaml, line 2: "),
    ("fit --model.activation swish", 2, "model.activation='swish' is not known; use elu, .*, softplus, tanh"),
    ("fit --model.class_weight heavy", 2, "model.class_weight='heavy' must be balanced, or name classes"),
    ('fit --model.class_weight {"benign":0}', 2, "the weight of 'benign' must be a positive number"),
    ('fit --model.class_weight {"good":2}', 2, "names 'good', which is no class; they are malignant, benign"),
    ("fit --gradients.every_n_epochs -1", 2, "gradients.every_n_epochs=-1"),
    ("fit --data.missing mean", 2, "data.missing='mean' must be median or refuse"),
    ("fit --data.max_categories 0", 2, "data.max_categories=0"),
    ("fit --data.ignore [age]", 2, "breast_cancer has fixed columns"),
    ("fit --trainer.logger.init_args.name ../elsewhere", 2, "name=../elsewhere .* lead out of save_dir=runs"),
    ("fit --trainer.logger.init_args.version ../../x", 2, "version=../../x lead out of save_dir=runs"),
    ("fit --data.source semicolon.csv --data.target y --data.decimal .", 1, "column 'x' is '1,5', no number"),
    ("fit --data.source blank.csv --data.target y --data.missing refuse", 1, "row 2 .*, column 'x' is blank; fill it"),
    ("fit --data.source twins.csv --data.target y", 1, "two columns 'x'"),
    ("fit --data.source ragged.csv --data.target y", 1, "line 3 has 4 values, and the lines above have 2; correct it"),
    ("fit --data.source empty.csv --data.target y", 1, "empty.csv is empty"),
    ("fit --data.source header.csv --data.target y", 1, "header.csv has no rows"),
    ("fit --data.source texts.csv --data.target x", 1, "target 'x' has 200 different texts in 200 rows, as an id or"),
    ("fit --data.source one.csv --data.target y", 1, "at least two classes; it has 1: 'a'"),
    ("fit --data.source broken.parquet --data.target y", 1, "broken.parquet is not a Parquet file"),
    ("fit --data.source two.csv --data.target y --data.id z", 2, "no column 'z'"),
    ("fit --data.source two.csv --data.target [y,z]", 2, "no column 'z'"),
    (
        "fit --data.source two.csv --data.target [x,y]",
        1,
        "the target 'y' is no column of numbers; several targets must",
    ),
    ("predict --ckpt_path CHECKPOINT --output p.xlsx", 2, "p.xlsx must end in .csv or .parquet"),
    ("predict --ckpt_path CHECKPOINT --model.lr 0.7", 2, "the checkpoint has lr=0.5, but this command has 0.7"),
    ("predict --ckpt_path CHECKPOINT --data.source two.csv --data.id z", 2, "two.csv has no column 'z'"),
    ("predict --ckpt_path CHECKPOINT --data.source header.csv", 1, "header.csv has no"),
    ("predict --ckpt_path CHECKPOINT --data.source nowhere.csv", 1, "nowhere.csv does not exist"),
    ("predict --ckpt_path CHECKPOINT --data.source .", 1, ". is a folder"),
    ("fit stray", 2, "'stray' belongs to no key; give a value as --KEY stray"),
    ("fit two.csv", 2, "'two.csv' belongs to no key; give a value as --data.source two.csv"),
    ("fit broken.ckpt", 2, "'broken.ckpt' belongs to no key; give a value as --ckpt_path broken.ckpt"),
    ("fit --model.members 1000000000000", 1, "there is not enough memory: smaller values of model.hidden, "),
    ("fit -c sep.yaml", 2, "data.sep=1 must be of type str or null; write it in quotes"),
    ("fit --model.lr", 2, "--model.lr: expected one argument"),
    ("fit --model.lr abc", 2, "model.lr=abc must be of type float"),
    ("fit --model.lr -1", 2, "model.lr=-1.0 must be a positive number"),
    ("fit --model.lr [0.1,x]", 2, "model.lr=x must be of type float"),
    ("fit --model.lr [0.1,-1]", 2, "model.lr=.*-1.0.* must be a positive number"),
    ("fit --model.engine fast", 2, "model.engine='fast' is not known; use autograd, explicit"),
    ("fit --model.members 0", 2, "model.members=0 must be at least 1"),
    ("fit --data.batches_at_once 2", 2, "data.batches_at_once=2 needs model.engine explicit"),
    ("fit --checkpoint.every_seconds -1", 2, "checkpoint.every_seconds=-1.0 must not be negative"),
    ("fit --model.engine explicit --trainer.max_steps 9", 2, "trainer.max_steps=9 counts .* --data.batches_at_once 1"),
    ("fit --model.engine explicit --trainer.strategy ddp --trainer.devices 2", 2, "explicit trains in one process"),
    ("test --ckpt_path CHECKPOINT --model.engine explicit", 2, "the checkpoint has engine=autograd, but this command"),
    ("test --ckpt_path CHECKPOINT --model.members 3", 2, "the checkpoint has members=None, but this command has 3"),
    ("fit --model.optimizer lion", 2, "model.optimizer='lion' is not known; use sgd, adam, adamw"),
    ("fit --model.schedule step", 2, "model.schedule='step' is not known; use null, cosine, one_cycle, plateau"),
    ("fit --model.schedule cosine --trainer.max_epochs -1", 2, "schedule=cosine ends with the last epoch, .* set it"),
    ("fit --model.warmup 5 --trainer.max_epochs 5", 2, "warmup=5 epochs leave none of trainer.max_epochs=5"),
    ("fit --model.norm batch --data.batch_size 340", 2, "the last batch has 1; change data.batch_size=340"),
    ("fit --model.loss huber", 2, "loss='huber' is not known for the task binary; use binary_cross_entropy_with_log"),
    ("fit --stopping.monitor val/r2", 2, "monitor=val/r2: the task binary has no such score; use train/loss, val/loss"),
    ("fit --model.hidden [0]", 2, r"model.hidden=\[0\] must list"),
    ("fit --model.hidden 3.5", 2, "model.hidden=3.5 must be of type list"),
    ("fit --trainer.max_epochs many", 2, "trainer.max_epochs=many must be of type int or null"),
    ("fit --trainer.max_epochs -3", 2, ".*max_epochs.* -3"),
    ("fit --trainer.accelerator abacus", 2, "invalid accelerator name: .*abacus"),
    ("fit --trainer.logger.init_args.save_dir /proc/x", 1, "/proc/x"),
    ("fit --seed_everything -1", 2, "seed_everything=-1 must lie between"),
    ("fit --data.seed -1", 2, "data.seed=-1 must lie between"),
    ("fit --data.source ", 2, "data.source is empty"),
    ("fit --seed_everything abc", 2, "seed_everything=abc"),
    ("fit --data.batch_size 0", 2, "data.batch_size=0"),
    ("fit --stopping.patience 0", 2, "stopping.patience=0"),
    ("fit --stopping.monitor val/los", 2, "stopping.monitor='val/los'"),
    ("fit --checkpoint.monitor val/los", 2, "checkpoint.monitor='val/los' .* use train/loss, val/loss, .*val/r2"),
    ("fit --data.source nowhere.csv --data.target y", 1, "nowhere.csv does not exist"),
    ("fit --data.source three.csv", 2, "data.target is missing"),
    ("fit --data.source three.csv --data.target z", 2, "no column 'z' .* it has x, y"),
    ("fit --data.source three.csv --data.target y", 1, "too few rows to split: 3 rows; add rows"),
    ("fit --data.source text.csv --data.target y", 1, r"row 3 under the header, column 'x' is 'tall'"),
    ("fit --ckpt_path nowhere.ckpt", 1, "there is no checkpoint nowhere.ckpt"),
    ("test", 2, "test needs a trained network"),
    ("validate", 2, "validate needs a trained network"),
    ("predict", 2, "predict needs a trained network"),
    ("test --ckpt_path broken.ckpt", 1, "broken.ckpt is damaged, or is not a checkpoint"),
    ("test --ckpt_path CHECKPOINT --model.hidden [8]", 2, r"has hidden=\[16\], but this command has \[8\]"),
    ("test --ckpt_path CHECKPOINT --model.lr 0.7", 2, "the checkpoint has lr=0.5, but this command has 0.7"),
    (
        "test --ckpt_path CHECKPOINT --data.source xor",
        2,
        "was not trained on xor; name a file with the columns of breast_cancer",
    ),
    ("test --ckpt_path CHECKPOINT --data.seed 5", 2, "the checkpoint has seed=0, but this command has 5"),
    ("fit --ckpt_path CHECKPOINT --data.val_fraction 0.3", 2, "val_fraction=0.2, but this command has 0.3"),
    ("predict --ckpt_path CHECKPOINT --data.source two.csv", 1, "two.csv has no column 'mean radius'"),
    ("predict --ckpt_path CHECKPOINT --output . --overwrite", 2, ". is a folder"),
    ("predict --ckpt_path CHECKPOINT --output nowhere/p.csv", 2, "no folder nowhere"),
]


@pytest.mark.parametrize(("arguments", "status", "message"), BAD, ids=[arguments for arguments, *_ in BAD])
def test_bad_input(arguments, status, message, run, checkpoint):
    for name, content in FILES.items():
        Path(name).write_text(content)
    command, *rest = (str(checkpoint) if word == "CHECKPOINT" else word for word in arguments.split(" "))
    got, out, err = run(command, "-c", CANCER, *rest)
    assert got == status
    assert out == ""
    assert re.fullmatch(f"torchbp: error: .*{message}.*\n", err), err
    assert {p.name for p in Path().iterdir()} == set(FILES)


def test_a_stray_file_whose_name_has_a_blank(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my table.csv").write_text("a,b\n")
    status, _, err = run("fit", "my table.csv")
    assert status == 2
    assert "'my table.csv' belongs to no key; give a value as --data.source 'my table.csv'" in err


class PackageLess(CSVLogger):
    """As Lightning's loggers are without their package; one that is there in no environment has this name."""

    def __init__(self, save_dir: str = "runs", name: str = "run", version: str | None = None):
        raise ModuleNotFoundError(
            "Requirement 'a-package>=1' not met. HINT: Try running `pip install 'a-package>=1'`", name="a-package"
        )
