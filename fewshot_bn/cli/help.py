"""What `--help` says below the options: every mode, every setting, examples."""

EXAMPLES = """\
modes:
  proto     nearest class mean of the frozen features
  lr        logistic regression on the frozen features, C chosen within the support set; settings tolerance, max_steps,
            select=kfold|loo|fixed folds=5 C=10 (where it is fixed or cannot be chosen: with 1 shot)
  lr-c1     the same as published: C=1 on raw features
  ridge     ridge regression on the frozen features; alpha, or 0 for the choice by leave-one-out
  lda       linear discriminant analysis on the frozen features; shrinkage, or 0 for Ledoit and Wolf's
  knn       nearest neighbours; k=1 metric=euclidean|cosine weights=uniform|distance
  svm       linear support vector machine of scikit-learn; C, tolerance, max_steps
  cosine    cosine classifier, trained by SGD; scale_factor=2 epochs=100 batch_size=4 lr=0.01 momentum=0.9
            dampening=0.9 weight_decay=0.001
            (all of the above: scaling=raw|l2|standard|centred_l2)
  bn        BatchNorm scales fine-tuned on each support set under the fixed solution of the logistic probe; then lr and
            ridge are solved on the tuned features, and probabilities averaged over both and three views of the images;
            bn.steps=0 leaves the tuning out
  gn, ln    the same on the GroupNorm or LayerNorm layers of networks that have those
  bn-plain  BatchNorm scales and shifts and a linear head, fine-tuned together by 50 steps of plain SGD
  bn23      as published for 33 of ResNet-50's 53 layers: batch statistics, 70 epochs, batches of 16
  bn-all    the same on all layers, without weight decay
  bn-cdfsl  with the length of CD-FSL's fine-tuning: batch statistics, 100 epochs, batches of 4, plain SGD

settings of all other modes (values first are those of bn-plain; in brackets those of bn, gn and ln where they differ):
  norm=batch|group|layer             scope=all|bn23|last|PATTERN,...    affines=both|scale|shift [scale]
  statistics=frozen|batch|converted|transductive                      precision=float32|bfloat16
  head=zero|normal|proto|lr [lr]     head_std=0.01                      C=1.0 [10] (of head=lr)
  scaling=raw|l2 [l2]                units=absolute|relative [relative] lr_norm=0.01 [1]  lr_head=0.01 [0]
  steps=50 [0] or epochs=0 [10]      batch_size=0 [13] (0: all)         augment=none|flip,crop,colour
  optimiser=sgd|adam [adam]          momentum=0.9  dampening=0          schedule=cosine|constant
  weight_decay=0                     label_smoothing=0  stop_loss=0
  readout=head|lr|ridge|lr+ridge [lr+ridge]                           test_augment=none|flip,centre [flip,centre]
  average_frozen=false|true

examples:
  python -m fewshot_bn.eval                                   embedded digits and backbone, no download
  python -m fewshot_bn.eval --dataset eurosat --n-way 5 --n-support 5 --mode bn
  python -m fewshot_bn.eval --dataset path/to/folder --model resnet50 --n-support 1 5 20 --mode proto bn
  python -m fewshot_bn.eval --model my-card.toml --mode bn bn23 --set bn.scope=last bn.steps=20

A run that was stopped goes on where it was when the same command is given again."""
